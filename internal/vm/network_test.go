package vm_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bothy/internal/shimapi"
)

// newTap makes a tap with the address 10.9.0.1 in a network namespace that ends
// with it.
func newTap(t *testing.T) *os.File {
	t.Helper()
	type result struct {
		tap *os.File
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends in its namespace
		tap, err := openTap()
		done <- result{tap, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { r.tap.Close() })
	return r.tap
}

func openTap() (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	tap := os.NewFile(uintptr(fd), "tap")
	request, err := unix.NewIfreq("tap0")
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	l, err := h.LinkByName("tap0")
	if err != nil {
		return nil, err
	}
	if err := h.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 9, 0, 1), Mask: net.CIDRMask(24, 32)}}); err != nil {
		return nil, err
	}
	return tap, h.LinkSetUp(l)
}

func TestNetworkAndFiles(t *testing.T) {
	p := findParts(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*bootTimeout)
	defer cancel()
	streams := newMemStreams("")
	c := p.config(t, streams)
	hosts := filepath.Join(c.Bundle, "hosts")
	if err := os.WriteFile(hosts, []byte("10.9.0.1 gate\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Machine.Files = []string{hosts}
	c.Machine.Interfaces = []shimapi.Interface{{
		Name: "eth0", MAC: "02:42:0a:09:00:02", Addresses: []string{"10.9.0.2/24"}, Gateways: []string{"10.9.0.1"}, MTU: 1400,
	}}
	c.Taps = []*os.File{newTap(t)}
	m := boot(t, c)
	s := spec("ip addr; ip route; ping -c 1 -W 10 gate; cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/etc/hosts", Type: "bind", Source: hosts, Options: []string{"bind"}})
	s.Process.Capabilities = &specs.LinuxCapabilities{
		Bounding: []string{"CAP_NET_RAW"}, Effective: []string{"CAP_NET_RAW"}, Permitted: []string{"CAP_NET_RAW"},
	}
	create(ctx, t, m, c, s, "")
	if _, err := m.Task().Start(ctx, &taskAPI.StartRequest{ID: c.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Task().Wait(ctx, &taskAPI.WaitRequest{ID: c.ID}); err != nil {
		t.Fatal(err)
	}
	out := streams.text("out")
	for _, want := range []string{
		"inet 10.9.0.2/24", "mtu 1400", "default via 10.9.0.1 dev eth0", "1 packets received", "eth0: <", "lo: <LOOPBACK,UP",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if !strings.HasSuffix(out, "\n1\n") || strings.Contains(out, "inet6 fe80") {
		t.Error("the interface has IPv6")
	}
	if t.Failed() {
		t.Logf("output:\n%s%s", out, streams.text("err"))
	}
}
