package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DefaultPools are docker's.
func DefaultPools() []Pool {
	pool := func(base string, size int) Pool { return Pool{Base: netip.MustParsePrefix(base), Size: size} }
	return []Pool{
		pool("172.17.0.0/16", 16), pool("172.18.0.0/16", 16), pool("172.19.0.0/16", 16), pool("172.20.0.0/14", 16),
		pool("172.24.0.0/14", 16), pool("172.28.0.0/14", 16), pool("192.168.0.0/16", 20),
	}
}

// openBridge makes or adopts the bridge and its address: the given one, or, if
// that is the zero Prefix, what the bridge has or a free one.
func (m *Manager) openBridge(address netip.Prefix) error {
	release, err := claimSubnets()
	if err != nil {
		return err
	}
	defer release()
	link, err := m.rt.LinkByName(m.opts.Bridge)
	var notFound netlink.LinkNotFoundError
	switch {
	case errors.As(err, &notFound):
		return m.makeBridge(address)
	case err != nil:
		return fmt.Errorf("looking for the bridge: %w", err)
	case link.Type() != "bridge":
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("the link %s is a %s and no bridge: name another with --bridge", m.opts.Bridge, link.Type()))
	}
	m.bridge = link.Attrs().Index
	return m.adoptAddress(link, address)
}

func (m *Manager) makeBridge(address netip.Prefix) error {
	if !address.IsValid() {
		var err error
		if address, err = m.freeSubnet(); err != nil {
			return err
		}
	}
	m.setAddress(address)
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	bridge.Name, bridge.MTU, bridge.HardwareAddr = m.opts.Bridge, m.opts.MTU, macOf(m.gateway)
	if err := m.rt.LinkAdd(bridge); err != nil {
		return fmt.Errorf("making the bridge: %w", err)
	}
	m.bridge = bridge.Index
	if err := m.finishBridge(bridge, address); err != nil {
		return errors.Join(err, m.rt.LinkDel(bridge))
	}
	return nil
}

// finishBridge gives the bridge its address and sets it up.
func (m *Manager) finishBridge(bridge netlink.Link, address netip.Prefix) error {
	if err := m.rt.AddrAdd(bridge, &netlink.Addr{IPNet: ipNet(address)}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("giving the bridge the address %s: %w", address, err)
	}
	if err := m.rt.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("setting the bridge up: %w", err)
	}
	return nil
}

// adoptAddress takes the address of a bridge that is there already; one that
// contradicts the wanted one is an error.
func (m *Manager) adoptAddress(bridge netlink.Link, want netip.Prefix) error {
	list, err := m.rt.AddrList(bridge, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("reading the bridge's addresses: %w", err)
	}
	var first netip.Prefix
	for _, a := range list {
		p := prefixOf(a.IPNet)
		if p == want || (!want.IsValid() && p.Bits() <= 30) {
			m.setAddress(p)
			return m.finishBridge(bridge, p)
		}
		first = p
	}
	if first.IsValid() {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf(
			"the bridge %s has the address %s and not %s: stop its containers and remove it (ip link delete %s), or name another with --bridge", m.opts.Bridge, first, want, m.opts.Bridge))
	}
	if !want.IsValid() {
		if want, err = m.freeSubnet(); err != nil {
			return err
		}
	}
	m.setAddress(want)
	return m.finishBridge(bridge, want)
}

func (m *Manager) setAddress(p netip.Prefix) {
	if p != m.address() { // else it is only made again, while others read it
		m.subnet, m.gateway = p.Masked(), p.Addr()
	}
}

// address is the bridge's, the zero Prefix before it has one.
func (m *Manager) address() netip.Prefix { return netip.PrefixFrom(m.gateway, m.subnet.Bits()) }

// hostMTU is the MTU of the link by which the host reaches the outside, and at
// most Ethernet's: packets that were larger would have to be refused there, by
// messages that do not always arrive.
func (m *Manager) hostMTU() (int, error) {
	routes, err := m.rt.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return 0, fmt.Errorf("reading the host's routes: %w", err)
	}
	mtu, metric := ethernetMTU, -1
	for _, r := range routes {
		if r.Dst != nil && prefixOf(r.Dst).Bits() != 0 || metric >= 0 && r.Priority >= metric {
			continue
		}
		if out, err := m.rt.LinkByIndex(r.LinkIndex); err == nil && out.Attrs().MTU >= leastMTU {
			mtu, metric = min(out.Attrs().MTU, ethernetMTU), r.Priority
		}
	}
	return mtu, nil
}

// freeSubnet gives the first address of the first subnet of the pools that no
// route of the host overlaps.
func (m *Manager) freeSubnet() (netip.Prefix, error) {
	routes, err := m.rt.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("reading the host's routes: %w", err)
	}
	var used []netip.Prefix
	for _, r := range routes {
		if r.Dst != nil {
			if p := prefixOf(r.Dst); p.IsValid() && p.Bits() > 0 {
				used = append(used, p)
			}
		}
	}
	return firstFree(m.opts.Pools, used)
}

// firstFree gives the first subnet of the pools that overlaps nothing used, with
// its first address. Used space is jumped over, not walked through.
func firstFree(pools []Pool, used []netip.Prefix) (netip.Prefix, error) {
	for _, pool := range pools {
		for s := netip.PrefixFrom(pool.Base.Masked().Addr(), pool.Size); s.Addr().IsValid() && pool.Base.Contains(s.Addr()); {
			hit, overlaps := overlapping(s, used)
			if !overlaps {
				return netip.PrefixFrom(s.Addr().Next(), s.Bits()), nil
			}
			if hit.Bits() > s.Bits() {
				hit = s
			}
			s = netip.PrefixFrom(lastOf(hit).Next(), pool.Size)
		}
	}
	return netip.Prefix{}, errdefs.ErrResourceExhausted.WithMessage("no free subnet: all address pools overlap the host's routes: choose one with --bip or --default-address-pool")
}

func overlapping(s netip.Prefix, used []netip.Prefix) (netip.Prefix, bool) {
	for _, u := range used {
		if u.Overlaps(s) {
			return u.Masked(), true
		}
	}
	return netip.Prefix{}, false
}

// lastOf is a subnet's last address, the broadcast address of an IPv4 one.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}

// enableForwarding lets the host route between the bridge and the outside. It
// stays on: others may have come to rely on it.
func enableForwarding() error {
	const path = "/proc/sys/net/ipv4/ip_forward"
	if now, err := os.ReadFile(path); err == nil && len(now) > 0 && now[0] == '1' {
		return nil
	}
	if err := os.WriteFile(path, []byte("1\n"), 0); err != nil {
		return fmt.Errorf("enabling IP forwarding (sysctl net.ipv4.ip_forward): %w", err)
	}
	return nil
}

// macOf is the MAC address that an address has, as docker makes it.
func macOf(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x42, b[0], b[1], b[2], b[3]}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixOf is the zero Prefix for what is no IPv4 subnet.
func prefixOf(n *net.IPNet) netip.Prefix {
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, size := n.Mask.Size()
	if !ok || size == 0 || !addr.Unmap().Is4() || bits > 32 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr.Unmap(), bits)
}
