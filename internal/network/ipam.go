package network

import (
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"
)

// ipam hands out the addresses of one subnet: the next free one after the last
// that was given, so that an address rests before it is used again. It is not
// safe for use at the same time.
type ipam struct {
	bridge  string
	subnet  netip.Prefix
	gateway netip.Addr
	last    netip.Addr
	used    map[netip.Addr]bool
}

func newIPAM(bridge string, subnet netip.Prefix, gateway netip.Addr) *ipam {
	return &ipam{bridge: bridge, subnet: subnet, gateway: gateway, last: subnet.Addr(), used: map[netip.Addr]bool{}}
}

// next takes the next free address.
func (p *ipam) next() (netip.Addr, error) {
	first, broadcast := p.subnet.Addr().Next(), lastOf(p.subnet)
	start := p.last
	for a := start.Next(); ; a = a.Next() {
		if a == broadcast || !p.subnet.Contains(a) {
			a = first
		}
		if a != p.gateway && !p.used[a] {
			p.used[a], p.last = true, a
			return a, nil
		}
		if a == start || (start == p.subnet.Addr() && a.Next() == broadcast) {
			return netip.Addr{}, errdefs.ErrResourceExhausted.WithMessage(fmt.Sprintf("no free addresses on network bridge (%s): remove containers or use a larger --bip", p.subnet))
		}
	}
}

// take takes an address that somebody chose.
func (p *ipam) take(a netip.Addr) error {
	switch {
	case !p.subnet.Contains(a) || a == p.subnet.Addr() || a == lastOf(p.subnet):
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("the address %s is not one of network bridge (%s)", a, p.subnet))
	case a == p.gateway || p.used[a]:
		return errdefs.ErrAlreadyExists.WithMessage(fmt.Sprintf("the address %s is in use already", a))
	}
	p.used[a] = true
	return nil
}

// restore marks an address as used, whatever it is.
func (p *ipam) restore(a netip.Addr) {
	p.used[a] = true
	if p.subnet.Contains(a) && a.Compare(p.last) > 0 {
		p.last = a
	}
}

func (p *ipam) free(a netip.Addr) { delete(p.used, a) }
