package network

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// eventually waits for what happens in the background.
func eventually(t *testing.T, what string, ok func() (bool, error)) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for {
		done, err := ok()
		if err != nil {
			t.Fatal(err)
		}
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func TestFirewallComesBack(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		m := openTest(t, testOptions())
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		c.FlushRuleset()
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		here, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		defer here.Close()
		stands := func() (bool, error) { return firewallStands(here, m.firewall()) }
		eventually(t, "the rules after a flush", stands)
		if err := dockerTable(c, true); err != nil {
			t.Fatal(err)
		}
		if ok, err := stands(); ok || err != nil {
			t.Errorf("Docker's rules without the engine's count as complete: %v", err)
		}
		eventually(t, "the rules after Docker's start", stands)
		if err := m.Close(context.Background(), false); err != nil {
			t.Fatal(err)
		}
		if ok, err := stands(); ok || err != nil {
			t.Errorf("the rules are there after Close: %v", err)
		}
	})
}

func TestBridgeComesBack(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		m := openTest(t, testOptions())
		before, err := m.Attach(ctx, Request{ContainerID: "before", Home: HomeProcess})
		if err != nil {
			t.Fatal(err)
		}
		defer before.File.Close()
		link, err := m.rt.LinkByName("bothytest0")
		if err == nil {
			err = m.rt.LinkDel(link)
		}
		if err != nil {
			t.Fatal(err)
		}
		after, err := m.Attach(ctx, Request{ContainerID: "after", Home: HomeProcess})
		if err != nil {
			t.Fatal(err)
		}
		defer after.File.Close()
		if before.Gateway != after.Gateway || before.IPAddress == after.IPAddress {
			t.Errorf("addresses %s by %s and %s by %s", before.IPAddress, before.Gateway, after.IPAddress, after.Gateway)
		}
		listener, err := listenIn(after.File, after.IPAddress.String()+":80")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if err := inside(before.File, func() error { return reach(after.IPAddress) }); err != nil {
			t.Errorf("from a container of the first bridge: %v", err)
		}
		detachAll(t, m, "before", "after")
		if err := m.Close(ctx, false); err != nil {
			t.Error(err)
		}
	})
}

func TestContainersHaveNoIPv6(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		m := openTest(t, testOptions())
		ep, err := m.Attach(context.Background(), Request{ContainerID: "a", Home: HomeProcess})
		if err != nil {
			t.Fatal(err)
		}
		defer ep.File.Close()
		var text []byte
		err = inside(ep.File, func() (err error) {
			text, err = os.ReadFile("/proc/thread-self/net/if_inet6")
			return err
		})
		if err != nil || strings.Contains(string(text), "eth0") || !strings.Contains(string(text), " lo") {
			t.Errorf("%v\n%s", err, text)
		}
		detachAll(t, m, "a")
	})
}

func TestMTUFollowsTheWayOut(t *testing.T) {
	t.Parallel()
	for mtu, want := range map[int]int{1400: 1400, 9000: 1500} {
		inNamespace(t, func(t *testing.T) {
			out := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "out0", MTU: mtu}}
			if err := netlink.LinkAdd(out); err != nil {
				t.Fatal(err)
			}
			if err := netlink.LinkSetUp(out); err != nil {
				t.Fatal(err)
			}
			if err := netlink.AddrAdd(out, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("192.0.2.2/24"))}); err != nil {
				t.Fatal(err)
			}
			if err := netlink.RouteAdd(&netlink.Route{LinkIndex: out.Index, Gw: net.IPv4(192, 0, 2, 1)}); err != nil {
				t.Fatal(err)
			}
			m := openTest(t, testOptions())
			ep, err := m.Attach(context.Background(), Request{ContainerID: "a", Home: HomeVM})
			if err != nil {
				t.Fatal(err)
			}
			defer ep.File.Close()
			tap, err := m.rt.LinkByName(linkName(HomeVM, "a"))
			if err != nil {
				t.Fatal(err)
			}
			if ep.Interface.MTU != want || tap.Attrs().MTU != want {
				t.Errorf("behind an MTU of %d the guest has %d, its tap %d", mtu, ep.Interface.MTU, tap.Attrs().MTU)
			}
		})
	}
}
