package network

import (
	"fmt"
	"os"

	"bothy/internal/netns"
)

// MakeLoneTap makes a tap that is on no network and never will be, in a network
// namespace that nobody else sees and that ends with it: for a machine that
// must have a device but no network. It lives as long as its file is open
// somewhere; uid is the user that owns it.
func MakeLoneTap(uid uint32) (tap *os.File, err error) {
	ns, err := netns.New(func() (err error) {
		tap, err = openTap("tap0", uid)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making a tap without a network: %w", err)
	}
	_ = ns.Close() // the tap's file keeps it
	return tap, nil
}
