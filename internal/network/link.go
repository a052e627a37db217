package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bothy/internal/netns"
)

// namespace is a new network namespace with nothing but lo, which is up.
type namespace struct {
	file *os.File
	rt   *netlink.Handle // a socket inside
}

// noIPv6 keeps links made later from having IPv6 addresses: the networks have
// none, and a link-local one alone only makes programs try it first.
const noIPv6 = "/proc/sys/net/ipv6/conf/default/disable_ipv6"

// newNamespace makes a network namespace whose loopback interface is up.
func newNamespace() (*namespace, error) {
	var rt *netlink.Handle
	file, err := netns.New(func() (err error) {
		if rt, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return err
		}
		const loopback = 1 // always
		if err := rt.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: loopback}}); err != nil {
			rt.Close()
			return fmt.Errorf("setting up lo: %w", err)
		}
		if err := os.WriteFile(noIPv6, []byte("1\n"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			rt.Close()
			return fmt.Errorf("turning IPv6 off: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &namespace{file: file, rt: rt}, nil
}

// duplicate gives another file of the namespace.
func (ns *namespace) duplicate() (*os.File, error) {
	fd, err := unix.FcntlInt(ns.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicating a network namespace's file: %w", err)
	}
	return os.NewFile(uintptr(fd), ns.file.Name()), nil
}

// close lets go of the namespace, which lives on where others hold it.
func (ns *namespace) close() {
	ns.rt.Close()
	_ = ns.file.Close()
}

// makeVeth makes a pair: its host end on the bridge, the other as eth0 in the
// namespace. Where that fails, what is there of the pair goes with the
// namespace.
func (m *Manager) makeVeth(ns *namespace, hostName string, address netip.Prefix, mac net.HardwareAddr) error {
	bridge, err := m.mendBridge()
	if err != nil {
		return err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eth0", PeerHardwareAddr: mac, PeerNamespace: netlink.NsFd(int(ns.file.Fd()))}
	veth.Name, veth.MTU, veth.MasterIndex = hostName, m.opts.MTU, bridge
	err = m.rt.LinkAdd(veth)
	if errors.Is(err, unix.EEXIST) { // left by the container's last run, whose namespace still ends
		if err = m.removeLink(hostName); err == nil {
			err = m.rt.LinkAdd(veth)
		}
	}
	if err != nil {
		return fmt.Errorf("making the link %s: %w", hostName, err)
	}
	if err := m.rt.LinkSetUp(veth); err != nil {
		return fmt.Errorf("setting the link %s up: %w", hostName, err)
	}
	return ns.configure(address, m.gateway)
}

// configure sets eth0 up with its address and the default route.
func (ns *namespace) configure(address netip.Prefix, gateway netip.Addr) error {
	eth0, err := ns.rt.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("looking for eth0: %w", err)
	}
	if err := ns.rt.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
		return fmt.Errorf("giving eth0 the address %s: %w", address, err)
	}
	if err := ns.rt.LinkSetUp(eth0); err != nil {
		return fmt.Errorf("setting eth0 up: %w", err)
	}
	route := &netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gateway.AsSlice()}
	if err := ns.rt.RouteAdd(route); err != nil {
		return fmt.Errorf("adding the default route by %s: %w", gateway, err)
	}
	return nil
}

// makeTap makes a tap on the bridge, which lives as long as its file is open.
func (m *Manager) makeTap(name string, owner uint32) (_ *os.File, err error) {
	bridge, err := m.mendBridge()
	if err != nil {
		return nil, err
	}
	file, err := openTap(name, owner)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY) {
		if err = m.removeLink(name); err == nil {
			file, err = openTap(name, owner)
		}
	}
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
	if err := m.rt.LinkSetMasterByIndex(tap, bridge); err != nil {
		return nil, fmt.Errorf("joining %s to %s: %w", name, m.opts.Bridge, err)
	}
	if err := m.rt.LinkSetUp(tap); err != nil {
		return nil, fmt.Errorf("setting the tap %s up: %w", name, err)
	}
	return file, nil
}

// openTap makes a tap that is not persistent, with the header that virtio
// devices share offloads by. Its file is one that QEMU can take over.
func openTap(name string, owner uint32) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil && owner != 0 {
		err = unix.IoctlSetInt(fd, unix.TUNSETOWNER, int(owner))
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), nil
}
