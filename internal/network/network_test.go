package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inNamespace runs f on a thread in a network namespace of its own, which goes
// with it, and with it all that f made.
func inNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	done := make(chan struct{})
	go func() {
		defer close(done) // also if f ends the goroutine
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		if err := netlink.LinkSetUp(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1}}); err != nil {
			t.Error(err)
			return
		}
		f(t)
	}()
	<-done
}

func testOptions() Options {
	return Options{StateDir: "/state", Bridge: "bothytest0", Table: "bothytest"}
}

func openTest(t *testing.T, opts Options) *Manager {
	t.Helper()
	m, err := Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.release)
	return m
}

// inside runs f on a thread that is in the namespace.
func inside(ns *os.File, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func TestContainersReachEachOther(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		m := openTest(t, testOptions())
		a, err := m.Attach(ctx, Request{ContainerID: "a", Home: HomeProcess, Network: "default"})
		if err != nil {
			t.Fatal(err)
		}
		defer a.File.Close()
		b, err := m.Attach(ctx, Request{ContainerID: "b", Home: HomeProcess, MAC: "02:00:00:00:00:0b"})
		if err != nil {
			t.Fatal(err)
		}
		defer b.File.Close()
		if a.IPAddress.String() != "172.17.0.2" || a.MAC != "02:42:ac:11:00:02" || a.PrefixLen != 16 || a.Gateway.String() != "172.17.0.1" {
			t.Errorf("endpoint %+v", a)
		}
		err = inside(b.File, func() error {
			eth0, err := net.InterfaceByName("eth0")
			if err == nil && eth0.HardwareAddr.String() != "02:00:00:00:00:0b" {
				err = fmt.Errorf("eth0 has %s", eth0.HardwareAddr)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		listener, err := listenIn(b.File, b.IPAddress.String()+":80")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if err := inside(a.File, func() error { return reach(b.IPAddress) }); err != nil {
			t.Errorf("container to container: %v", err)
		}
		if err := reach(b.IPAddress); err != nil {
			t.Errorf("host to container: %v", err)
		}
		if got := m.List()[0]; got.Name != Bridge || len(got.Containers) != 2 || got.IPAM.Config[0].Subnet != m.Subnet() {
			t.Errorf("listed as %+v", got)
		}
		if _, err := m.Attach(ctx, Request{ContainerID: "a", Home: HomeProcess}); !errdefs.IsAlreadyExists(err) {
			t.Errorf("attached twice: %v", err)
		}
		detachAll(t, m, "a", "b", "a", "unknown")
		if err := m.Close(ctx, false); err != nil {
			t.Fatal(err)
		}
		if links := linkNames(t); links != "lo" {
			t.Errorf("left behind: %s", links)
		}
	})
}

func detachAll(t *testing.T, m *Manager, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := m.Detach(context.Background(), id); err != nil {
			t.Errorf("detaching %s: %v", id, err)
		}
	}
}

// linkNames lists the links of the current namespace, as the kernel makes them
// in every new one (tunl0 and the like) left out.
func linkNames(t *testing.T) string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		if l.Type() != "ipip" && l.Type() != "sit" && l.Type() != "gre" && l.Type() != "ifb" {
			names = append(names, l.Attrs().Name)
		}
	}
	return strings.Join(names, " ")
}

// listenIn listens in a namespace.
func listenIn(ns *os.File, address string) (l net.Listener, err error) {
	err = inside(ns, func() (err error) {
		l, err = net.Listen("tcp4", address)
		return err
	})
	return l, err
}

// reach connects to port 80 of an address.
func reach(ip netip.Addr) error {
	conn, err := net.DialTimeout("tcp4", ip.String()+":80", 2*time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// outside makes a namespace that is joined to the current one as 10.9.0.2,
// where this one is 10.9.0.1, and that knows no way to any container.
func outside(t *testing.T) *namespace {
	t.Helper()
	ns, err := newNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.rt.Close(); ns.file.Close() })
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns.file.Fd()))}
	veth.Name = "uplink"
	err = errors.Join(
		netlink.LinkAdd(veth),
		netlink.AddrAdd(veth, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("10.9.0.1/24"))}),
		netlink.LinkSetUp(veth),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.configure(netip.MustParsePrefix("10.9.0.2/24"), netip.MustParseAddr("10.9.0.254")); err != nil {
		t.Fatal(err)
	}
	return ns
}

func TestOutside(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		out := outside(t)
		m := openTest(t, testOptions())
		ep, err := m.Attach(context.Background(), Request{ContainerID: "a", Home: HomeProcess})
		if err != nil {
			t.Fatal(err)
		}
		defer ep.File.Close()
		from := make(chan string, 1)
		outer, err := listenIn(out.file, "10.9.0.2:80")
		if err != nil {
			t.Fatal(err)
		}
		defer outer.Close()
		inner, err := listenIn(ep.File, ep.IPAddress.String()+":80")
		if err != nil {
			t.Fatal(err)
		}
		defer inner.Close()
		go func() {
			if conn, err := outer.Accept(); err == nil {
				from <- conn.RemoteAddr().String()
				conn.Close()
			}
		}()
		if err := inside(ep.File, func() error { return reach(netip.MustParseAddr("10.9.0.2")) }); err != nil {
			t.Fatalf("container to outside: %v", err)
		}
		if got := <-from; !strings.HasPrefix(got, "10.9.0.1:") {
			t.Errorf("outside sees %s and not the host's address", got)
		}
		route := &netlink.Route{Dst: ipNet(m.Subnet()), Gw: net.IPv4(10, 9, 0, 1)}
		if err := out.rt.RouteAdd(route); err != nil {
			t.Fatal(err)
		}
		if err := inside(out.file, func() error { return reach(ep.IPAddress) }); err == nil {
			t.Error("a new connection from outside reached a container")
		}
	})
}

func TestTap(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		m := openTest(t, testOptions())
		ep, err := m.Attach(ctx, Request{ContainerID: "machine", Home: HomeVM, UID: 1234})
		if err != nil {
			t.Fatal(err)
		}
		name := linkName(HomeVM, "machine")
		tap, err := m.rt.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if a := tap.Attrs(); a.MasterIndex != m.bridge || a.Flags&net.FlagUp == 0 || tap.Type() != "tuntap" {
			t.Errorf("%s: %+v", tap.Type(), a)
		}
		if ep.Interface.Addresses[0] != "172.17.0.2/16" || ep.Interface.Gateways[0] != "172.17.0.1" || ep.Interface.MTU != 1500 {
			t.Errorf("interface %+v", ep.Interface)
		}
		if err := ep.File.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := m.rt.LinkByName(name); !isGone(err) {
			t.Errorf("the tap outlives its file: %v", err)
		}
		detachAll(t, m, "machine")
	})
}

func TestNoneAndHost(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		m := openTest(t, testOptions())
		none, err := m.Attach(ctx, Request{ContainerID: "n", Home: HomeProcess, Network: None})
		if err != nil {
			t.Fatal(err)
		}
		defer none.File.Close()
		err = inside(none.File, func() error {
			links, err := net.Interfaces()
			for _, l := range links {
				if (l.Flags&net.FlagUp != 0) != (l.Name == "lo") {
					err = fmt.Errorf("link %s: %s", l.Name, l.Flags)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		for _, req := range []Request{{Home: HomeVM, Network: None}, {Home: HomeProcess, Network: Host}} {
			ep, err := m.Attach(ctx, req)
			if err != nil || ep.File != nil || ep.Interface != nil {
				t.Errorf("%+v: %+v, %v", req, ep, err)
			}
		}
		for _, tc := range []struct {
			req Request
			is  func(error) bool
		}{
			{Request{Home: HomeVM, Network: Host}, errdefs.IsNotImplemented},
			{Request{Home: HomeProcess, Network: "mine"}, errdefs.IsNotFound},
			{Request{Home: "cloud"}, errdefs.IsInvalidArgument},
			{Request{Home: HomeProcess, MAC: "01:00:00:00:00:00"}, errdefs.IsInvalidArgument},
			{Request{Home: HomeProcess, IPv4: netip.MustParseAddr("10.0.0.1")}, errdefs.IsInvalidArgument},
			{Request{Home: HomeProcess, IPv4: m.Gateway()}, errdefs.IsAlreadyExists},
		} {
			if _, err := m.Attach(ctx, tc.req); !tc.is(err) {
				t.Errorf("%+v: %v", tc.req, err)
			}
		}
	})
}
