package network

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/network"
)

// List describes the networks that there are, by name. Containers on the
// bridge are there by their IDs; their names are the engine's to fill in.
func (m *Manager) List() []network.Inspect {
	all := []network.Inspect{m.describe(Bridge, "bridge"), m.describe(Host, "host"), m.describe(None, "null")}
	bridge := &all[0]
	bridge.IPAM.Config = []network.IPAMConfig{{Subnet: m.subnet, Gateway: m.gateway}}
	bridge.Options = map[string]string{
		"com.docker.network.bridge.default_bridge":       "true",
		"com.docker.network.bridge.enable_icc":           "true",
		"com.docker.network.bridge.enable_ip_masquerade": "true",
		"com.docker.network.bridge.name":                 m.opts.Bridge,
		"com.docker.network.driver.mtu":                  strconv.Itoa(m.opts.MTU),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(m.endpoints)) {
		e := m.endpoints[id]
		if !e.IPAddress.IsValid() {
			continue
		}
		r := network.EndpointResource{EndpointID: e.EndpointID, IPv4Address: netip.PrefixFrom(e.IPAddress, m.subnet.Bits())}
		if mac, err := parseMAC(e.MAC); err == nil {
			r.MacAddress = network.HardwareAddr(mac)
		}
		bridge.Containers[id] = r
	}
	slices.SortFunc(all, func(a, b network.Inspect) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func (m *Manager) describe(name, driver string) network.Inspect {
	return network.Inspect{
		Network: network.Network{
			Name: name, ID: m.networkID(name), Created: m.created, Scope: "local", Driver: driver, EnableIPv4: true,
			IPAM:    network.IPAM{Driver: "default", Config: []network.IPAMConfig{}},
			Options: map[string]string{}, Labels: map[string]string{},
		},
		Containers: map[string]network.EndpointResource{},
	}
}
