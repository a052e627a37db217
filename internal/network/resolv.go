package network

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
)

const (
	resolvConf        = "/etc/resolv.conf"
	resolvConfSystemd = "/run/systemd/resolve/resolv.conf" // behind systemd-resolved's stub
)

// HostResolvConf reads the host's resolv.conf; where that names only the stub
// of systemd-resolved, the one with the servers behind it. A host without one
// has an empty one.
func HostResolvConf() ([]byte, error) {
	host, err := readIfThere(resolvConf)
	if err != nil {
		return nil, err
	}
	servers := parseResolvConf(host).Servers
	if len(servers) == 1 && servers[0] == "127.0.0.53" {
		behind, err := readIfThere(resolvConfSystemd)
		if err != nil || len(behind) > 0 {
			return behind, err
		}
	}
	return host, nil
}

func readIfThere(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// DNSFor completes a container's settings with the engine's.
func (m *Manager) DNSFor(own DNS) DNS {
	pick := func(own, engine []string) []string {
		if len(own) > 0 {
			return own
		}
		return engine
	}
	return DNS{
		Servers: pick(own.Servers, m.opts.DNS.Servers),
		Search:  pick(own.Search, m.opts.DNS.Search),
		Options: pick(own.Options, m.opts.DNS.Options),
	}
}

// ResolvConf makes a container's resolv.conf of the host's and of the settings,
// which go first. In a network of its own (isolated) the host's loopback
// servers are not there: they are left out, and if no server is left then,
// Google's take their place, as docker has it.
func ResolvConf(host []byte, dns DNS, isolated bool) []byte {
	conf := parseResolvConf(host)
	if isolated {
		conf.Servers = slices.DeleteFunc(conf.Servers, func(s string) bool {
			addr, err := netip.ParseAddr(s)
			return err != nil || addr.IsLoopback() || addr.Is6() // containers have no IPv6 yet
		})
	}
	if len(dns.Servers) > 0 {
		conf.Servers = dns.Servers
	} else if isolated && len(conf.Servers) == 0 {
		conf.Servers = []string{"8.8.8.8", "8.8.4.4"}
	}
	if len(dns.Search) > 0 {
		conf.Search = dns.Search
	}
	if len(conf.Search) == 1 && conf.Search[0] == "." {
		conf.Search = nil
	}
	if len(dns.Options) > 0 {
		conf.Options = dns.Options
	}
	var b bytes.Buffer
	for _, s := range conf.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(conf.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(conf.Search, " "))
	}
	if len(conf.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(conf.Options, " "))
	}
	return b.Bytes()
}

// parseResolvConf reads what resolv.conf(5) describes: the last of several
// search (or domain) lines counts, options add up. What it does not know it
// leaves out.
func parseResolvConf(text []byte) DNS {
	var conf DNS
	for line := range strings.Lines(string(text)) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			conf.Servers = append(conf.Servers, fields[1])
		case "search":
			conf.Search = fields[1:]
		case "domain":
			conf.Search = fields[1:2]
		case "options":
			conf.Options = append(conf.Options, fields[1:]...)
		}
	}
	return conf
}
