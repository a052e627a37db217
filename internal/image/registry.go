package image

import (
	"net"
	"net/netip"
	"strings"

	"github.com/containerd/errdefs"
)

// insecureRegistries are those that may be talked to without proof of who they
// are: by host, with or without port, or by network.
type insecureRegistries struct {
	hosts    map[string]bool
	networks []netip.Prefix
}

func parseInsecure(list []string) (insecureRegistries, error) {
	in := insecureRegistries{hosts: map[string]bool{}}
	for _, e := range list {
		if p, err := netip.ParsePrefix(e); err == nil {
			in.networks = append(in.networks, p.Masked())
			continue
		}
		if e == "" || strings.ContainsAny(e, "/ \t\n@") {
			return in, errorf(errdefs.ErrInvalidArgument, "insecure registry %q is neither host, host:port nor network (CIDR)", e)
		}
		in.hosts[strings.ToLower(e)] = true
	}
	return in, nil
}

// match says whether a registry (host or host:port) is insecure. Loopback is.
func (in insecureRegistries) match(registry string) bool {
	host := strings.ToLower(registry)
	if in.hosts[host] {
		return true
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || in.hosts[host] {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if ip.IsLoopback() {
		return true
	}
	for _, n := range in.networks {
		if n.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}
