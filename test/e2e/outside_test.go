package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The tests' host has one interface, to a network with one other machine on
// it. That machine is its default gateway and knows no way to containers'
// addresses: what answers from there has been through NAT.
const (
	hostAddress    = "198.51.100.1"
	outsideAddress = "198.51.100.2"
	outsideAnswer  = "hello from outside"
)

// startOutside makes that network and starts its machine: this program again,
// in a network namespace of its own.
func startOutside() (stop func(), err error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"=outside")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if err := connectOutside(cmd.Process.Pid); err != nil {
		stop()
		return nil, err
	}
	fmt.Fprintln(in, "connected")
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		stop()
		return nil, fmt.Errorf("waiting for the machine outside, it said %q: %w", line, err)
	}
	return stop, nil
}

func connectOutside(pid int) error {
	if err := configureLink("lo", ""); err != nil {
		return err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "host0"}, PeerName: "out0", PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("adding a veth: %w", err)
	}
	if err := configureLink("host0", hostAddress+"/24"); err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(outsideAddress)})
}

func configureLink(name, address string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding %s: %w", name, err)
	}
	if address != "" {
		addr, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("giving %s to %s: %w", address, name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting %s up: %w", name, err)
	}
	return nil
}

// serveOutside is the machine outside: one page over HTTP, which says who asked.
func serveOutside() {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "outside:", err)
		os.Exit(1)
	}
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		fail(errors.New("the tests went away"))
	}
	for name, address := range map[string]string{"lo": "", "out0": outsideAddress + "/24"} {
		if err := configureLink(name, address); err != nil {
			fail(err)
		}
	}
	listener, err := net.Listen("tcp4", outsideAddress+":80")
	if err != nil {
		fail(err)
	}
	fmt.Println("listening")
	fail(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s, %s\n", outsideAnswer, from)
	})))
}
