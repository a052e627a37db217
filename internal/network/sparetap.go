package network

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SpareTap is a tap that is on no network yet: it is down, and lives as long as
// its file is open somewhere. Request.Tap gives it to a container.
type SpareTap struct {
	// File is the caller's to close, once whoever uses the tap has it.
	File  *os.File
	index int
}

// MakeSpareTap makes a tap ahead of the container that gets it. The id tells it
// apart from others; uid is the user that owns it.
func (m *Manager) MakeSpareTap(id string, uid uint32) (_ *SpareTap, err error) {
	name := linkName(HomeVM, id)
	file, err := openTap(name, uid)
	if err != nil {
		return nil, fmt.Errorf("making the tap %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			file.Close() // the tap goes with it
		}
	}()
	tap, err := m.rt.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("looking for the tap %s: %w", name, err)
	}
	if err := m.rt.LinkSetMTU(tap, m.opts.MTU); err != nil {
		return nil, fmt.Errorf("setting the MTU of %s to %d: %w", name, m.opts.MTU, err)
	}
	return &SpareTap{File: file, index: tap.Attrs().Index}, nil
}

// joinSpareTap gives a spare tap a container's name and puts it on the bridge.
func (m *Manager) joinSpareTap(spare *SpareTap, name string) error {
	bridge, err := m.mendBridge()
	if err != nil {
		return err
	}
	tap, err := m.rt.LinkByIndex(spare.index)
	if err != nil {
		return fmt.Errorf("looking for the tap that was made for %s: %w", name, err)
	}
	err = m.rt.LinkSetName(tap, name)
	if errors.Is(err, unix.EEXIST) { // left by the container's last run, which still ends
		if err = m.removeLink(name); err == nil {
			err = m.rt.LinkSetName(tap, name)
		}
	}
	if err != nil {
		return fmt.Errorf("naming the tap %s: %w", name, err)
	}
	if err := m.rt.LinkSetMasterByIndex(tap, bridge); err != nil {
		return fmt.Errorf("joining %s to %s: %w", name, m.opts.Bridge, err)
	}
	if err := m.rt.LinkSetUp(tap); err != nil {
		return fmt.Errorf("setting the tap %s up: %w", name, err)
	}
	return nil
}
