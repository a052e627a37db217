package daemon

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// notifySystemd tells systemd, where it started bothyd, that it serves
// (sd_notify(3)). The variable goes, so that no child speaks for bothyd.
func notifySystemd(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	_ = os.Unsetenv("NOTIFY_SOCKET")
	if name, abstract := strings.CutPrefix(path, "@"); abstract {
		path = "\x00" + name
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("telling systemd %q: %w", state, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("telling systemd %q: %w", state, err)
	}
	return nil
}
