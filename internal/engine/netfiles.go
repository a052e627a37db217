package engine

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/moby/moby/api/types/events"
	dockernet "github.com/moby/moby/api/types/network"

	"bothy/internal/network"
	"bothy/internal/spec"
)

// networkStore is what the engine needs of package network's Manager.
type networkStore interface {
	Begin(ctx context.Context, req network.Request) (*network.Endpoint, error)
	Detach(ctx context.Context, containerID string) error
	Restore(ctx context.Context, inUse []network.InUse) error
	// DNSFor completes a container's settings by the engine's own.
	DNSFor(own network.DNS) network.DNS
	// Gateway is the host's address on the bridge.
	Gateway() netip.Addr
}

// attach gives a container its place on its network, whose links may be in the
// making still.
func (s *starter) attach(ctx context.Context, rec record, plan *machinePlan) (*network.Endpoint, error) {
	req := network.Request{ContainerID: rec.ID, Home: rec.Home, Network: string(rec.HostConfig.NetworkMode)}
	if rec.Networking != nil {
		for _, e := range rec.Networking.EndpointsConfig { // one at most (spec.Refuse), by any of its network's names
			if e != nil && len(e.MacAddress) > 0 {
				req.MAC = e.MacAddress.String()
			}
		}
	}
	if rec.Home == spec.VM {
		req.UID, req.Tap = machineUser(rec.ID), plan.spareTap()
	}
	return s.networks.Begin(ctx, req)
}

func (s *starter) detach(ctx context.Context, id string) {
	if err := s.networks.Detach(ctx, id); err != nil {
		s.log.Error("detaching a container's network", "container", id, "error", err)
	}
}

// networkEvent tells that a container joined or left its network.
func (s *starter) networkEvent(action events.Action, id string, e *endpoint) {
	driver := e.Network
	if driver == network.None {
		driver = "null"
	}
	s.bus.Publish(events.NetworkEventType, action, e.NetworkID, map[string]string{"container": id, "name": e.Network, "type": driver})
}

// endpointOf gives what is remembered of an endpoint.
func endpointOf(e *network.Endpoint) *endpoint {
	out := &endpoint{Network: e.NetworkName, NetworkID: e.NetworkID, EndpointID: e.EndpointID, PrefixLen: e.PrefixLen, MAC: e.MAC}
	if e.IPAddress.IsValid() {
		out.IPAddress, out.Gateway = e.IPAddress.String(), e.Gateway.String()
	}
	return out
}

// inUse is the endpoint in the words of Restore.
func (e *endpoint) inUse(id string) network.InUse {
	ip, _ := netip.ParseAddr(e.IPAddress) // "" is no address
	return network.InUse{ContainerID: id, EndpointID: e.EndpointID, IPAddress: ip, MAC: e.MAC}
}

// describe writes the endpoint into docker's form.
func (e *endpoint) describe(to *dockernet.EndpointSettings) {
	to.NetworkID, to.EndpointID, to.IPPrefixLen = e.NetworkID, e.EndpointID, e.PrefixLen
	if ip, err := netip.ParseAddr(e.IPAddress); err == nil {
		to.IPAddress = ip
	}
	if gw, err := netip.ParseAddr(e.Gateway); err == nil {
		to.Gateway = gw
	}
	if mac, err := net.ParseMAC(e.MAC); err == nil {
		to.MacAddress = dockernet.HardwareAddr(mac)
	}
}

// networkFiles are the paths of the files that are bound below a container's
// /etc.
type networkFiles struct {
	hostname, hosts, resolv string
}

func networkFilesIn(stateDir string) networkFiles {
	return networkFiles{
		hostname: filepath.Join(stateDir, "hostname"),
		hosts:    filepath.Join(stateDir, "hosts"),
		resolv:   filepath.Join(stateDir, "resolv.conf"),
	}
}

func (f networkFiles) list() []string { return []string{f.hostname, f.hosts, f.resolv} }

// writeNetworkFiles writes hostname, hosts and resolv.conf for one run.
func (s *starter) writeNetworkFiles(c *ctr, rec record, e *network.Endpoint) (networkFiles, error) {
	files := networkFilesIn(c.dir)
	resolv, err := s.resolvConf(rec)
	if err != nil {
		return files, err
	}
	hosts, err := s.hostsFile(rec, e)
	if err != nil {
		return files, err
	}
	for path, data := range map[string][]byte{
		files.hostname: []byte(rec.Config.Hostname + "\n"),
		files.hosts:    hosts,
		files.resolv:   resolv,
	} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return files, storeError("starting", c.id, err)
		}
	}
	return files, nil
}

// resolvConf makes the container's resolv.conf of the host's and its settings.
func (s *starter) resolvConf(rec record) ([]byte, error) {
	host, err := network.HostResolvConf()
	if err != nil {
		return nil, err
	}
	own := network.DNS{Search: rec.HostConfig.DNSSearch, Options: rec.HostConfig.DNSOptions}
	for _, ip := range rec.HostConfig.DNS {
		own.Servers = append(own.Servers, ip.String())
	}
	return network.ResolvConf(host, s.networks.DNSFor(own), !rec.HostConfig.NetworkMode.IsHost()), nil
}

// hostsFile makes the container's hosts file.
func (s *starter) hostsFile(rec record, e *network.Endpoint) ([]byte, error) {
	in := network.HostsInput{
		Extra: rec.HostConfig.ExtraHosts, Gateway: s.networks.Gateway(),
		Hostname: rec.Config.Hostname, Domainname: rec.Config.Domainname,
	}
	if e != nil {
		in.Address = e.IPAddress
	}
	if rec.HostConfig.NetworkMode.IsHost() {
		host, err := os.ReadFile("/etc/hosts")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		in.Host = host
	}
	return network.Hosts(in)
}
