package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bothy/internal/netns"
)

// namespace gives a container a path for its network namespace: the spare's, if
// there is one.
func (n *networks) namespace(id string, ahead *spare) (path string, err error) {
	if ahead != nil {
		path = ahead.path
	} else if path, err = newNetNSFile(id); err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.paths == nil {
		n.paths = map[string]string{}
	}
	n.paths[id] = path
	return path, nil
}

// newNetNSFile makes a file that a network namespace can be kept on.
func newNetNSFile(name string) (string, error) {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(netnsDir, name)
	return path, os.WriteFile(path, nil, 0o444)
}

// inSpare moves links to the network namespace at path and runs f in it.
func inSpare(path string, links []netlink.Link, f func() error) error {
	if len(links) == 0 {
		return nil // it has all that it needs
	}
	outside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer outside.Close()
	inside, err := os.Open(path)
	if err != nil {
		return err
	}
	defer inside.Close()
	for _, l := range links {
		if err := outside.LinkSetNsFd(l, int(inside.Fd())); err != nil {
			return fmt.Errorf("moving a network interface: %w", err)
		}
	}
	return netns.Run(inside, f)
}

// remove lets go of the container's network namespace, if it has one.
func (n *networks) remove(id string) error {
	n.mu.Lock()
	path := n.paths[id]
	delete(n.paths, id)
	n.mu.Unlock()
	if path == "" {
		return nil
	}
	return removeNetNS(path)
}

func removeNetNS(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("removing the network namespace: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
