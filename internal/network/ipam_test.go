package network

import (
	"net/netip"
	"testing"

	"github.com/containerd/errdefs"
)

func TestIPAM(t *testing.T) {
	t.Parallel()
	subnet := netip.MustParsePrefix("10.0.0.0/29") // .1 to .6
	p := newIPAM("b", subnet, netip.MustParseAddr("10.0.0.3"))
	expect := func(want string) netip.Addr {
		t.Helper()
		a, err := p.next()
		if err != nil || a.String() != want {
			t.Fatalf("got %s, %v, want %s", a, err, want)
		}
		return a
	}
	expect("10.0.0.1")
	second := expect("10.0.0.2")
	p.free(second)
	expect("10.0.0.4") // not .2 at once
	expect("10.0.0.5")
	expect("10.0.0.6")
	expect("10.0.0.2")
	if _, err := p.next(); !errdefs.IsResourceExhausted(err) {
		t.Errorf("in a full subnet: %v", err)
	}
	p.free(netip.MustParseAddr("10.0.0.5"))
	if err := p.take(netip.MustParseAddr("10.0.0.5")); err != nil {
		t.Error(err)
	}
	for address, is := range map[string]func(error) bool{
		"10.0.0.5": errdefs.IsAlreadyExists, "10.0.0.3": errdefs.IsAlreadyExists, "10.0.0.0": errdefs.IsInvalidArgument,
		"10.0.0.7": errdefs.IsInvalidArgument, "10.0.1.1": errdefs.IsInvalidArgument,
	} {
		if err := p.take(netip.MustParseAddr(address)); !is(err) {
			t.Errorf("taking %s: %v", address, err)
		}
	}
}

// TestIPAMSizes fills subnets of several sizes: every address is given once.
func TestIPAMSizes(t *testing.T) {
	t.Parallel()
	for _, bits := range []int{30, 29, 28, 24} {
		subnet := netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), bits)
		p := newIPAM("b", subnet, netip.MustParseAddr("10.0.0.1"))
		seen := map[netip.Addr]bool{}
		for {
			a, err := p.next()
			if err != nil {
				break
			}
			if seen[a] {
				t.Fatalf("/%d: %s twice", bits, a)
			}
			seen[a] = true
		}
		if want := 1<<(32-bits) - 3; len(seen) != want {
			t.Errorf("/%d: %d addresses, want %d", bits, len(seen), want)
		}
	}
}

func TestFirstFree(t *testing.T) {
	t.Parallel()
	pools := []Pool{{netip.MustParsePrefix("172.17.0.0/16"), 16}, {netip.MustParsePrefix("10.0.0.0/8"), 24}}
	for name, tc := range map[string]struct {
		used []string
		want string
	}{
		"nothing used":   {nil, "172.17.0.1/16"},
		"pool used":      {[]string{"172.17.5.0/24"}, "10.0.0.1/24"},
		"inside a route": {[]string{"172.16.0.0/12", "10.0.0.0/16"}, "10.1.0.1/24"},
		"host routes":    {[]string{"172.17.0.9/32", "10.0.0.7/32", "10.0.1.0/25"}, "10.0.2.1/24"},
		"all used":       {[]string{"172.0.0.0/8", "10.0.0.0/8"}, ""},
		"end of space":   {[]string{"128.0.0.0/1", "0.0.0.0/1"}, ""},
	} {
		var used []netip.Prefix
		for _, u := range tc.used {
			used = append(used, netip.MustParsePrefix(u))
		}
		got, err := firstFree(pools, used)
		if tc.want == "" {
			if !errdefs.IsResourceExhausted(err) {
				t.Errorf("%s: %s, %v", name, got, err)
			}
		} else if err != nil || got.String() != tc.want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, tc.want)
		}
	}
}
