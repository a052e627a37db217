// Package network joins containers to networks: the bridge, the addresses on
// it, an endpoint for each container (a veth for a container, a tap for a
// virtual machine), the firewall, and the contents of resolv.conf and hosts.
//
// It must not know of containers' lifecycle nor of HTTP. Nothing is written
// down: which addresses are used follows from the containers that there are
// (Restore), and all that it makes in the kernel is found again by its name.
package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"bothy/internal/shimapi"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The homes of containers, as Request has them.
const (
	HomeProcess = "process"
	HomeVM      = "vm"
)

// The networks that there are; "default" and "" are other words for Bridge.
const (
	Bridge = "bridge"
	Host   = "host"
	None   = "none"
)

const (
	leastMTU    = 68 // RFC 791
	ethernetMTU = 1500
)

// Pool is address space that subnets are cut from.
type Pool struct {
	Base netip.Prefix
	Size int // prefix length of each subnet
}

// Options configure the default network of one engine.
type Options struct {
	StateDir string       // tells the networks' IDs of several engines apart
	Bridge   string       // the bridge's link name; "": "bothy0"
	BIP      netip.Prefix // the bridge's address and subnet; zero: from Pools
	Pools    []Pool       // empty: docker's default pools
	MTU      int          // 0: that of the host's way out, at most 1500
	DNS      DNS          // for containers that have no settings of their own
	Table    string       // nftables table; "": "bothy"
	Log      *slog.Logger // nil: slog's default
}

// DNS is what a user says about name resolution; empty fields follow the host.
type DNS struct {
	Servers []string // addresses
	Search  []string // domains; "." alone: none
	Options []string
}

// Request asks for an endpoint.
type Request struct {
	ContainerID string
	Home        string
	Network     string
	MAC         string     // "": made from the address
	IPv4        netip.Addr // zero: the next free one
	UID         uint32     // VM home: the user that owns the tap
	Tap         *SpareTap  // VM home: the tap to use, whose file stays the caller's; nil: one is made
}

// Endpoint is a container's place on a network.
type Endpoint struct {
	NetworkID, NetworkName, EndpointID string

	Interface *shimapi.Interface // nil: none
	IPAddress netip.Addr         // zero: none
	PrefixLen int
	Gateway   netip.Addr
	MAC       string
	// File is the network namespace (process home) or the tap (VM home). The
	// caller owns it and closes it once the shim has it. nil: none.
	File *os.File

	links *links // nil: nothing to wait for, see Ready
}

// InUse is an endpoint that outlived the engine that made it.
type InUse struct {
	ContainerID string
	EndpointID  string
	IPAddress   netip.Addr // zero: not on the bridge
	MAC         string
}

// Manager owns the networks of one engine. Its methods may be called at the
// same time.
type Manager struct {
	opts    Options
	rt      *netlink.Handle // of the namespace that Open ran in
	netns   *os.File        // that namespace
	subnet  netip.Prefix    // masked
	gateway netip.Addr
	created time.Time
	log     *slog.Logger
	watcher *watcher // nil: none

	removals sync.WaitGroup // of links, in the background
	joins    sync.WaitGroup // of veths in the making

	mending sync.Mutex // guards the following
	bridge  int        // link index

	mu        sync.Mutex // guards the following
	warn      []string
	addresses *ipam
	endpoints map[string]InUse  // by container ID
	joining   map[string]*links // those whose veth is in the making
}

// Open makes or adopts the bridge, its address, forwarding and the firewall. It
// may be called again at any time, after a crash too. It must run in the
// network namespace that the bridge is to live in.
func Open(ctx context.Context, opts Options) (*Manager, error) {
	opts.setDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	m := &Manager{opts: opts, log: opts.Log, endpoints: map[string]InUse{}, joining: map[string]*links{}, created: time.Now()}
	if err := m.open(ctx); err != nil {
		m.release()
		return nil, fmt.Errorf("opening the network %s: %w", opts.Bridge, err)
	}
	return m, nil
}

func (m *Manager) open(ctx context.Context) (err error) {
	if m.netns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	if m.rt, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("opening a netlink socket: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.opts.MTU == 0 {
		if m.opts.MTU, err = m.hostMTU(); err != nil {
			return err
		}
	}
	if err := m.openBridge(m.opts.BIP); err != nil {
		return err
	}
	m.addresses = newIPAM(m.opts.Bridge, m.subnet, m.gateway)
	if err := enableForwarding(); err != nil {
		return err
	}
	if m.warn, err = applyFirewall(m.netns, m.firewall()); err != nil {
		return err
	}
	return m.watch()
}

// release closes what the Manager holds, once its links are gone.
func (m *Manager) release() {
	m.unwatch()
	m.joins.Wait()
	m.removals.Wait()
	if m.rt != nil {
		m.rt.Close()
	}
	if m.netns != nil {
		m.netns.Close()
	}
}

// Close gives back what Open took. Where no container uses the network
// (inUse is false), bridge and firewall are removed; otherwise they stay, and
// the next Open adopts them.
func (m *Manager) Close(_ context.Context, inUse bool) error {
	m.unwatch()
	defer m.release()
	if inUse {
		return nil
	}
	errFirewall := removeFirewall(m.netns, m.firewall())
	m.mending.Lock()
	defer m.mending.Unlock()
	errBridge := m.rt.LinkDel(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Index: m.bridge, Name: m.opts.Bridge}})
	if isGone(errBridge) {
		errBridge = nil
	}
	if err := errors.Join(errFirewall, errBridge); err != nil {
		return fmt.Errorf("removing the network %s: %w", m.opts.Bridge, err)
	}
	return nil
}

// Subnet is the bridge's subnet, Gateway the host's address in it.
func (m *Manager) Subnet() netip.Prefix { return m.subnet }

// Gateway is the host's address on the bridge.
func (m *Manager) Gateway() netip.Addr { return m.gateway }

// Warnings are what a user should know about the host's firewall, for `info`.
func (m *Manager) Warnings() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.warn
}

// Restore takes over what containers used before a restart of the engine;
// every other address is free, and links of containers that are gone are
// removed. It is called once, before the first Attach.
func (m *Manager) Restore(_ context.Context, inUse []InUse) error {
	m.mending.Lock()
	defer m.mending.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	keep := map[string]bool{}
	for _, e := range inUse {
		m.endpoints[e.ContainerID] = e
		if e.IPAddress.IsValid() {
			m.addresses.restore(e.IPAddress)
			keep[linkName(HomeProcess, e.ContainerID)] = true
			keep[linkName(HomeVM, e.ContainerID)] = true
		}
	}
	links, err := m.rt.LinkList()
	if err != nil {
		return fmt.Errorf("listing the links of %s: %w", m.opts.Bridge, err)
	}
	for _, link := range links {
		a := link.Attrs()
		if a.MasterIndex != m.bridge || keep[a.Name] || !isOurLink(a.Name) {
			continue
		}
		if err := m.rt.LinkDel(link); err != nil && !isGone(err) {
			return fmt.Errorf("removing the stray link %s: %w", a.Name, err)
		}
	}
	return nil
}

// networkID is the same at every start of an engine.
func (m *Manager) networkID(name string) string { return hash("network", m.opts.StateDir, name) }

func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func isGone(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.Is(err, unix.ENODEV) || errors.As(err, &notFound)
}

func (o *Options) setDefaults() {
	if o.Bridge == "" {
		o.Bridge = "bothy0"
	}
	if o.Table == "" {
		o.Table = "bothy"
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if len(o.Pools) == 0 {
		o.Pools = DefaultPools()
	}
}

func (o *Options) validate() error {
	invalid := func(format string, args ...any) error {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
	}
	if len(o.Bridge) >= unix.IFNAMSIZ {
		return invalid("the bridge's name %q is too long: a link's name has at most %d characters", o.Bridge, unix.IFNAMSIZ-1)
	}
	if o.MTU != 0 && (o.MTU < leastMTU || o.MTU > 65535) {
		return invalid("the MTU %d is not between %d and 65535", o.MTU, leastMTU)
	}
	if o.BIP.IsValid() && (!o.BIP.Addr().Is4() || o.BIP.Bits() > 30 || o.BIP.Masked().Addr() == o.BIP.Addr()) {
		return invalid("--bip %s: it must be an IPv4 address with the length of its subnet, like 172.17.0.1/16", o.BIP)
	}
	for _, p := range o.Pools {
		if !p.Base.Addr().Is4() || p.Size < p.Base.Bits() || p.Size > 30 {
			return invalid("--default-address-pool base=%s,size=%d: the base must be an IPv4 subnet, and the size between its length and 30", p.Base, p.Size)
		}
	}
	return nil
}
