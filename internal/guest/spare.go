package guest

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bothy/internal/shimapi"
)

// spareName is the name that the interface in a spare has: most containers'.
const spareName = "eth0"

// spare is a network namespace that was made ahead, with the machine's network
// interface in it.
type spare struct {
	path   string
	handle *netlink.Handle // inside
	link   netlink.Link    // nil: the machine has no interface, or several
	ipv6   *os.File        // the link's switch, which is off; nil: the kernel has no IPv6
}

// prepare makes a spare, unless there is one, and returns its path.
func (n *networks) prepare() (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.spare != nil {
		return n.spare.path, nil
	}
	n.spares++
	s, err := newSpare(fmt.Sprint(".spare-", n.spares)) // no container's id
	if err != nil {
		return "", fmt.Errorf("making a network namespace ahead: %w", err)
	}
	n.spare = s
	return s.path, nil
}

// takeSpare returns the spare, which is the caller's from then on.
func (n *networks) takeSpare() *spare {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.spare
	n.spare = nil
	return s
}

func newSpare(name string) (*spare, error) {
	link, err := onlyLink()
	if err != nil {
		return nil, err
	}
	s := &spare{}
	if s.path, err = newNetNSFile(name); err != nil {
		return nil, err
	}
	var links []netlink.Link
	if link != nil {
		links = append(links, link)
	}
	err = inNewNetNS(s.path, links, func() (err error) {
		if s.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return err
		}
		if err := setUpLoopback(s.handle); err != nil {
			return err
		}
		if link == nil {
			return nil
		}
		return s.receive(link.Attrs().HardwareAddr)
	})
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// onlyLink is the one network interface that the machine has; nil if it has
// none or several.
func onlyLink() (netlink.Link, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	var found netlink.Link
	for _, l := range all {
		if l.Attrs().Flags&net.FlagLoopback != 0 || l.Type() != "device" {
			continue
		}
		if found != nil {
			return nil, nil
		}
		found = l
	}
	return found, nil
}

// receive readies the link that has come into the thread's namespace.
func (s *spare) receive(mac net.HardwareAddr) error {
	all, err := s.handle.LinkList()
	if err != nil {
		return err
	}
	l := linkByMAC(all, mac)
	if l == nil {
		return errors.New("the network interface is gone")
	}
	if l.Attrs().Name != spareName {
		if err := s.handle.LinkSetName(l, spareName); err != nil {
			return err
		}
		l.Attrs().Name = spareName
	}
	s.ipv6, err = os.OpenFile(ipv6Switch(spareName), os.O_WRONLY, 0)
	if err == nil {
		err = s.enableIPv6(false)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.link = l
	return nil
}

func (s *spare) enableIPv6(on bool) error {
	text := "1"
	if on {
		text = "0"
	}
	_, err := s.ipv6.WriteAt([]byte(text), 0)
	return err
}

// has says whether the interfaces are the spare's one.
func (s *spare) has(interfaces []shimapi.Interface) bool {
	return s.link != nil && len(interfaces) == 1 && deviceMAC(interfaces[0]) == s.link.Attrs().HardwareAddr.String()
}

// configure gives the link its settings.
func (s *spare) configure(settings shimapi.Interface) error {
	if err := s.apply(settings); err != nil {
		return fmt.Errorf("setting up the network interface %s: %w", settings.Name, err)
	}
	return nil
}

func (s *spare) apply(settings shimapi.Interface) error {
	if err := nameLink(s.handle, s.link, settings); err != nil {
		return err
	}
	if s.ipv6 != nil && hasIPv6(settings) {
		if err := s.enableIPv6(true); err != nil {
			return err
		}
	}
	if err := addAddresses(s.handle, s.link, settings); err != nil {
		return err
	}
	if err := s.handle.LinkSetUp(s.link); err != nil {
		return err
	}
	return addRoutes(s.handle, s.link, settings)
}

// giveBack returns the link to the machine's network namespace.
func (s *spare) giveBack() error {
	if s.link == nil {
		return nil
	}
	if err := s.handle.LinkSetNsPid(s.link, os.Getpid()); err != nil {
		return fmt.Errorf("moving the network interface back: %w", err)
	}
	s.link = nil
	return nil
}

func (s *spare) close() {
	if s.handle != nil {
		s.handle.Close()
	}
	if s.ipv6 != nil {
		s.ipv6.Close()
	}
}
