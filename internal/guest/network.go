package guest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bothy/internal/netns"
	"bothy/internal/shimapi"
)

// netnsDir holds the network namespaces of containers.
const netnsDir = "/run/netns"

// networks sets up the network of each container while its root file system is
// mounted.
type networks struct {
	uevents *uevents
	modules *modules
	trace   *tracer

	mu      sync.Mutex            // guards what follows
	pending map[string]chan error // by container, with one result
	spares  int                   // how many were made
	spare   *spare                // nil: none
	paths   map[string]string     // of the containers' network namespaces
}

// begin sets up a container's network. It returns the path of a file on which
// its network namespace will stand, "" for none; wait says when.
func (n *networks) begin(id string, o *shimapi.GuestOptions) (string, error) {
	ahead := n.takeSpare()
	path := ""
	if o.NewNetNS {
		var err error
		if path, err = n.namespace(id, ahead); err != nil {
			return "", err
		}
	}
	result := make(chan error, 1)
	n.mu.Lock()
	if n.pending == nil {
		n.pending = map[string]chan error{}
	}
	n.pending[id] = result
	n.mu.Unlock()
	go func() {
		n.modules.wait("unix", "virtio_net", "ipv6", "af_packet")
		err := setUpNetwork(path, ahead, o, n.uevents)
		n.trace.mark("network")
		result <- err
	}()
	return path, nil
}

// wait returns when what begin began is done, with its error. A second call for
// one container returns at once.
func (n *networks) wait(id string) error {
	n.mu.Lock()
	result, ok := n.pending[id]
	delete(n.pending, id)
	n.mu.Unlock()
	if !ok {
		return nil
	}
	return <-result
}

// setUpNetwork gives the interfaces their settings, in a network namespace of
// its own at path, which is that of the spare if there is one, or in the
// machine's if path is "".
func setUpNetwork(path string, ahead *spare, o *shimapi.GuestOptions, u *uevents) error {
	if ahead != nil {
		defer ahead.close()
		if path != "" && ahead.has(o.Interfaces) {
			return ahead.configure(o.Interfaces[0])
		}
		if err := ahead.giveBack(); err != nil {
			return err
		}
		if path == "" {
			if err := removeNetNS(ahead.path); err != nil {
				return err
			}
		}
	}
	links, err := findLinks(o.Interfaces, u)
	if err != nil {
		return err
	}
	if path == "" {
		return configure(o.Interfaces, links)
	}
	f := func() error { return configure(o.Interfaces, links) }
	if ahead != nil {
		return inSpare(path, links, f)
	}
	return inNewNetNS(path, links, f)
}

// findLinks waits for the interfaces, which are known by their addresses.
func findLinks(interfaces []shimapi.Interface, u *uevents) ([]netlink.Link, error) {
	if len(interfaces) == 0 {
		return nil, nil
	}
	found := make([]netlink.Link, len(interfaces))
	err := u.until("a network interface", func() (bool, error) {
		all, err := netlink.LinkList()
		if err != nil {
			return false, err
		}
		missing := false
		for i, want := range interfaces {
			mac, err := net.ParseMAC(deviceMAC(want))
			if err != nil {
				return false, err
			}
			found[i] = linkByMAC(all, mac)
			missing = missing || found[i] == nil
		}
		return !missing, nil
	})
	return found, err
}

// deviceMAC is the address that an interface's device has.
func deviceMAC(i shimapi.Interface) string {
	if i.DeviceMAC != "" {
		return i.DeviceMAC
	}
	return i.MAC
}

func linkByMAC(links []netlink.Link, mac net.HardwareAddr) netlink.Link {
	for _, l := range links {
		if l.Attrs().HardwareAddr.String() == mac.String() {
			return l
		}
	}
	return nil
}

// inNewNetNS makes a network namespace, keeps it at path, moves links there and
// runs f in it.
func inNewNetNS(path string, links []netlink.Link, f func() error) error {
	outside, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer outside.Close()
	file, err := netns.New(func() error {
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keeping the network namespace: %w", err)
		}
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
		return f()
	})
	if err != nil {
		return err
	}
	return file.Close()
}

// configure sets up the loopback interface and the links in the namespace of the
// thread.
func configure(interfaces []shimapi.Interface, links []netlink.Link) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := setUpLoopback(h); err != nil {
		return err
	}
	for i, settings := range interfaces {
		if err := configureLink(h, settings, links[i].Attrs().HardwareAddr); err != nil {
			return fmt.Errorf("setting up the network interface %s: %w", settings.Name, err)
		}
	}
	return nil
}

func setUpLoopback(h *netlink.Handle) error {
	lo, err := h.LinkByName("lo")
	if err == nil && lo.Attrs().Flags&net.FlagUp == 0 {
		err = h.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("setting up lo: %w", err)
	}
	return nil
}

func configureLink(h *netlink.Handle, s shimapi.Interface, mac net.HardwareAddr) error {
	all, err := h.LinkList()
	if err != nil {
		return err
	}
	l := linkByMAC(all, mac) // a move gives another index
	if l == nil {
		return errors.New("it is gone")
	}
	if err := nameLink(h, l, s); err != nil {
		return err
	}
	if err := addAddresses(h, l, s); err != nil {
		return err
	}
	if !hasIPv6(s) {
		if err := disableIPv6(s.Name); err != nil {
			return err
		}
	}
	if err := h.LinkSetUp(l); err != nil {
		return err
	}
	return addRoutes(h, l, s)
}

// nameLink gives a link its address, name and size of packets.
func nameLink(h *netlink.Handle, l netlink.Link, s shimapi.Interface) error {
	if s.DeviceMAC != "" {
		own, err := net.ParseMAC(s.MAC)
		if err != nil {
			return err
		}
		if err := h.LinkSetHardwareAddr(l, own); err != nil {
			return fmt.Errorf("setting its address: %w", err)
		}
	}
	if l.Attrs().Name != s.Name {
		if err := h.LinkSetName(l, s.Name); err != nil {
			return err
		}
	}
	if s.MTU > 0 && l.Attrs().MTU != s.MTU {
		return h.LinkSetMTU(l, s.MTU)
	}
	return nil
}

func addAddresses(h *netlink.Handle, l netlink.Link, s shimapi.Interface) error {
	for _, text := range s.Addresses {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD // the host gives each address out once
		}
		if err := h.AddrAdd(l, a); err != nil {
			return fmt.Errorf("adding the address %s: %w", text, err)
		}
	}
	return nil
}

// hasIPv6 says whether an interface has an address of that kind. As docker has
// it, there is no IPv6 at all on a network without it.
func hasIPv6(s shimapi.Interface) bool {
	for _, text := range s.Addresses {
		if strings.Contains(text, ":") {
			return true
		}
	}
	return false
}

func disableIPv6(name string) error {
	err := os.WriteFile(ipv6Switch(name), []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// ipv6Switch is the file that turns IPv6 off for an interface in the network
// namespace of the thread.
func ipv6Switch(name string) string { return "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6" }

func addRoutes(h *netlink.Handle, l netlink.Link, s shimapi.Interface) error {
	for _, text := range s.Gateways {
		gateway := net.ParseIP(text)
		if gateway == nil {
			return fmt.Errorf("%q is no address of a gateway", text)
		}
		if err := h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: gateway}); err != nil {
			return fmt.Errorf("adding the route by %s: %w", text, err)
		}
	}
	return nil
}
