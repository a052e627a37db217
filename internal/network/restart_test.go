package network

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
)

func TestRestart(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		before := openTest(t, testOptions())
		kept, err := before.Attach(ctx, Request{ContainerID: "kept", Home: HomeProcess})
		if err != nil {
			t.Fatal(err)
		}
		defer kept.File.Close()
		stray, err := before.Attach(ctx, Request{ContainerID: "stray", Home: HomeProcess})
		if err != nil {
			t.Fatal(err)
		}
		defer stray.File.Close()

		after := openTest(t, testOptions()) // without a Close: bothyd was killed
		if after.Subnet() != before.Subnet() {
			t.Errorf("subnet %s became %s", before.Subnet(), after.Subnet())
		}
		err = after.Restore(ctx, []InUse{{ContainerID: "kept", EndpointID: kept.EndpointID, IPAddress: kept.IPAddress, MAC: kept.MAC}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := after.rt.LinkByName(linkName(HomeProcess, "kept")); err != nil {
			t.Errorf("the link of a container in use: %v", err)
		}
		if _, err := after.rt.LinkByName(linkName(HomeProcess, "stray")); !isGone(err) {
			t.Errorf("a stray link is left: %v", err)
		}
		if _, err := after.Attach(ctx, Request{ContainerID: "x", Home: HomeVM, IPv4: kept.IPAddress}); !errdefs.IsAlreadyExists(err) {
			t.Errorf("an address in use: %v", err)
		}
		again, err := after.Attach(ctx, Request{ContainerID: "stray", Home: HomeProcess, IPv4: stray.IPAddress})
		if err != nil {
			t.Fatal(err)
		}
		defer again.File.Close()
		detachAll(t, after, "kept", "stray")
		if err := after.Close(ctx, true); err != nil {
			t.Error(err)
		}
		if got := linkNames(t); got != "lo bothytest0" {
			t.Errorf("links: %s", got)
		}
	})
}

// TestStartAgain: the namespace of a container's last run may still be there.
func TestStartAgain(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		m := openTest(t, testOptions())
		for _, home := range []string{HomeProcess, HomeVM} {
			for range 2 {
				ep, err := m.Attach(context.Background(), Request{ContainerID: home, Home: home})
				if err != nil {
					t.Fatal(err)
				}
				defer ep.File.Close()
				m.forget(home) // as a new engine that knows nothing of it
			}
		}
	})
}

func TestAttachAtTheSameTime(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		opts := testOptions()
		opts.BIP = netip.MustParsePrefix("10.1.1.1/28")
		m := openTest(t, opts)
		var wg sync.WaitGroup
		endpoints := make([]*Endpoint, 10)
		for i := range endpoints {
			wg.Go(func() {
				ep, err := m.Attach(context.Background(), Request{ContainerID: fmt.Sprint(i), Home: HomeProcess})
				if err != nil {
					t.Error(err)
					return
				}
				endpoints[i] = ep
			})
		}
		wg.Wait()
		seen := map[netip.Addr]bool{}
		for _, ep := range endpoints {
			if ep == nil {
				continue
			}
			defer ep.File.Close()
			if seen[ep.IPAddress] {
				t.Errorf("%s twice", ep.IPAddress)
			}
			seen[ep.IPAddress] = true
		}
		for i := range 3 {
			ep, err := m.Attach(context.Background(), Request{ContainerID: fmt.Sprint("more", i), Home: HomeProcess})
			if err != nil {
				t.Fatal(err)
			}
			defer ep.File.Close()
		}
		if _, err := m.Attach(context.Background(), Request{ContainerID: "one too many", Home: HomeProcess}); !errdefs.IsResourceExhausted(err) {
			t.Errorf("in a full subnet: %v", err)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br9"}}); err != nil {
			t.Fatal(err)
		}
		br9, err := netlink.LinkByName("br9")
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.AddrAdd(br9, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("10.5.0.1/24"))}); err != nil {
			t.Fatal(err)
		}
		bip := netip.MustParsePrefix
		pool := []Pool{{bip("10.5.0.0/24"), 24}}
		for name, tc := range map[string]struct {
			opts Options
			is   func(error) bool
		}{
			"other address":  {Options{Bridge: "br9", BIP: bip("10.6.0.1/24")}, errdefs.IsFailedPrecondition},
			"no bridge":      {Options{Bridge: "lo"}, errdefs.IsFailedPrecondition},
			"pool in use":    {Options{Bridge: "br8", Pools: pool}, nil}, // see below
			"long name":      {Options{Bridge: "a-name-too-long-for-a-link"}, errdefs.IsInvalidArgument},
			"network as bip": {Options{BIP: bip("10.6.0.0/24")}, errdefs.IsInvalidArgument},
			"bip too small":  {Options{BIP: bip("10.6.0.1/31")}, errdefs.IsInvalidArgument},
			"bip of IPv6":    {Options{BIP: bip("fd00::1/64")}, errdefs.IsInvalidArgument},
			"bad pool":       {Options{Pools: []Pool{{bip("10.0.0.0/24"), 16}}}, errdefs.IsInvalidArgument},
			"bad MTU":        {Options{MTU: 1}, errdefs.IsInvalidArgument},
		} {
			if tc.is == nil {
				if err := netlink.LinkSetUp(br9); err != nil { // its route counts now
					t.Fatal(err)
				}
				tc.is = errdefs.IsResourceExhausted
			}
			if _, err := Open(context.Background(), tc.opts); !tc.is(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestSideBySide: two engines with bridges and tables of their own.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		one := openTest(t, Options{Bridge: "one", Table: "one"})
		two := openTest(t, Options{Bridge: "two", Table: "two"})
		if one.Subnet().Overlaps(two.Subnet()) {
			t.Errorf("%s overlaps %s", one.Subnet(), two.Subnet())
		}
		if err := one.Close(ctx, false); err != nil {
			t.Fatal(err)
		}
		ep, err := two.Attach(ctx, Request{ContainerID: "c", Home: HomeProcess})
		if err != nil {
			t.Fatal(err)
		}
		defer ep.File.Close()
		l, err := listenIn(ep.File, ep.IPAddress.String()+":80")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := reach(ep.IPAddress); err != nil {
			t.Error(err)
		}
	})
}
