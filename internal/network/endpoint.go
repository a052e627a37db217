package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"bothy/internal/shimapi"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Attach gives a container its place on a network. A container that has one
// already is ErrAlreadyExists. On error nothing is left.
func (m *Manager) Attach(ctx context.Context, req Request) (*Endpoint, error) {
	ep, err := m.Begin(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := ep.Ready(); err != nil {
		_ = ep.File.Close()
		return nil, errors.Join(err, m.Detach(ctx, req.ContainerID))
	}
	return ep, nil
}

// Begin is Attach without the wait for a veth: its addresses are settled and its
// namespace is there, so that a shim can be started with it meanwhile. Ready
// waits for the rest. The caller detaches the container where that fails.
func (m *Manager) Begin(ctx context.Context, req Request) (*Endpoint, error) {
	ep, err := m.attach(ctx, req)
	if err != nil {
		return nil, joinError(req, err)
	}
	return ep, nil
}

func joinError(req Request, err error) error {
	return fmt.Errorf("joining container %s to network %s: %w", req.ContainerID, name(req.Network), err)
}

// Ready waits until the endpoint's links are up, and says why they are not. It
// may be called again.
func (e *Endpoint) Ready() error {
	if e.links == nil {
		return nil
	}
	<-e.links.done
	return e.links.err
}

// links are a veth in the making.
type links struct {
	done chan struct{} // closed when the veth is up or has failed
	err  error         // valid then
}

func (m *Manager) attach(ctx context.Context, req Request) (*Endpoint, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if req.Home != HomeProcess && req.Home != HomeVM {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("unknown home %q", req.Home))
	}
	ep := &Endpoint{NetworkName: name(req.Network), NetworkID: m.networkID(name(req.Network))}
	switch {
	case ep.NetworkName == Bridge:
		return ep, m.attachBridge(req, ep)
	case ep.NetworkName == None && req.Home == HomeProcess:
		ns, err := newNamespace()
		if err != nil {
			return nil, err
		}
		ns.rt.Close()
		ep.File = ns.file
	case ep.NetworkName == Host && req.Home == HomeVM:
		return nil, errdefs.ErrNotImplemented.WithMessage("a virtual machine has a network stack of its own")
	case ep.NetworkName != None && ep.NetworkName != Host:
		return nil, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("network %s not found", req.Network))
	}
	ep.EndpointID = hash("endpoint", m.opts.StateDir, req.ContainerID)
	return ep, nil
}

func (m *Manager) attachBridge(req Request, ep *Endpoint) (err error) {
	mac, err := parseMAC(req.MAC)
	if err != nil {
		return err
	}
	ip, err := m.reserve(req)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			m.forget(req.ContainerID)
		}
	}()
	if mac == nil {
		mac = macOf(ip)
	}
	address := netip.PrefixFrom(ip, m.subnet.Bits())
	ep.EndpointID = hash("endpoint", m.opts.StateDir, req.ContainerID)
	ep.IPAddress, ep.PrefixLen, ep.Gateway, ep.MAC = ip, m.subnet.Bits(), m.gateway, mac.String()
	ep.Interface = &shimapi.Interface{
		Name: "eth0", MAC: ep.MAC, Addresses: []string{address.String()}, Gateways: []string{m.gateway.String()}, MTU: m.opts.MTU,
	}
	m.mu.Lock()
	m.endpoints[req.ContainerID] = InUse{ContainerID: req.ContainerID, EndpointID: ep.EndpointID, IPAddress: ip, MAC: ep.MAC}
	m.mu.Unlock()
	switch {
	case req.Home == HomeVM && req.Tap != nil:
		return m.joinSpareTap(req.Tap, linkName(HomeVM, req.ContainerID))
	case req.Home == HomeVM:
		ep.File, err = m.makeTap(linkName(HomeVM, req.ContainerID), req.UID)
		return err
	}
	ep.File, ep.links, err = m.beginVeth(req, address, mac)
	return err
}

// beginVeth makes a network namespace, and in the background the veth into it.
func (m *Manager) beginVeth(req Request, address netip.Prefix, mac net.HardwareAddr) (*os.File, *links, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, nil, err
	}
	file, err := ns.duplicate() // the caller's, who may close it at any time
	if err != nil {
		ns.close()
		return nil, nil, err
	}
	l := &links{done: make(chan struct{})}
	m.mu.Lock()
	m.joining[req.ContainerID] = l
	m.mu.Unlock()
	m.joins.Go(func() {
		defer ns.close()
		if err := m.makeVeth(ns, linkName(HomeProcess, req.ContainerID), address, mac); err != nil {
			l.err = joinError(req, err)
		}
		close(l.done)
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.joining, req.ContainerID)
	})
	return file, l, nil
}

// reserve takes an address for a container.
func (m *Manager) reserve(req Request) (ip netip.Addr, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.endpoints[req.ContainerID]; ok {
		return ip, errdefs.ErrAlreadyExists.WithMessage("it has an endpoint already")
	}
	if req.IPv4.IsValid() {
		ip, err = req.IPv4, m.addresses.take(req.IPv4)
	} else {
		ip, err = m.addresses.next()
	}
	if err == nil {
		m.endpoints[req.ContainerID] = InUse{ContainerID: req.ContainerID, IPAddress: ip}
	}
	return ip, err
}

func (m *Manager) forget(containerID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.endpoints[containerID]; ok {
		delete(m.endpoints, containerID)
		m.addresses.free(e.IPAddress)
	}
}

// Detach takes a container off its network: its address is free when it
// returns, its links go soon after (the kernel takes tens of milliseconds for
// each, which nobody should wait for; Close does). A container that has no
// endpoint is no error.
func (m *Manager) Detach(_ context.Context, containerID string) error {
	m.mu.Lock()
	e, ok := m.endpoints[containerID]
	joining := m.joining[containerID]
	m.mu.Unlock()
	if !ok {
		return nil
	}
	if joining != nil {
		<-joining.done
	}
	if e.IPAddress.IsValid() {
		for _, home := range []string{HomeProcess, HomeVM} {
			if err := m.dropLink(linkName(home, containerID)); err != nil {
				return fmt.Errorf("taking container %s off its network: %w", containerID, err)
			}
		}
	}
	m.forget(containerID)
	return nil
}

// dropLink finds a link now and removes it in the background: by its index, so
// that one of the same name made meanwhile stays.
func (m *Manager) dropLink(name string) error {
	link, err := m.rt.LinkByName(name)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for the link %s: %w", name, err)
	}
	m.removals.Go(func() {
		if err := m.rt.LinkDel(link); err != nil && !isGone(err) {
			m.log.Warn("removing a link", "link", name, "error", err)
		}
	})
	return nil
}

// removeLink removes a link if there is one of the name.
func (m *Manager) removeLink(name string) error {
	link, err := m.rt.LinkByName(name)
	if err == nil {
		err = m.rt.LinkDel(link)
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("removing the link %s: %w", name, err)
	}
	return nil
}

const (
	vethPrefix = "veth"
	tapPrefix  = "tap"
)

// linkName is the host's end of a container's endpoint: the same for the same
// container, so that it is found again.
func linkName(home, containerID string) string {
	prefix := vethPrefix
	if home == HomeVM {
		prefix = tapPrefix
	}
	return prefix + hash("link", containerID)[:unix.IFNAMSIZ-1-len(vethPrefix)]
}

func isOurLink(name string) bool {
	return strings.HasPrefix(name, vethPrefix) || strings.HasPrefix(name, tapPrefix)
}

func parseMAC(text string) (net.HardwareAddr, error) {
	if text == "" {
		return nil, nil
	}
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid MAC address %q: it must be six bytes, and not a multicast address", text))
	}
	return mac, nil
}

func name(network string) string {
	if network == "" || network == "default" {
		return Bridge
	}
	return network
}
