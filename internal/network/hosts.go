package network

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"github.com/containerd/errdefs"
)

// HostsInput is what a container's hosts file follows from.
type HostsInput struct {
	// Host is the host's own file, for a container that shares its network;
	// empty: docker's beginning.
	Host []byte
	// Extra are --add-host: "name:address", "name=address", with
	// "host-gateway" for Gateway.
	Extra   []string
	Gateway netip.Addr // zero: none
	// Address is the container's own; zero: none, and no line for it.
	Address              netip.Addr
	Hostname, Domainname string
}

// HostsBase is what a hosts file begins with, as docker has it.
const HostsBase = `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`

// Hosts makes a container's hosts file.
func Hosts(in HostsInput) ([]byte, error) {
	var b bytes.Buffer
	if len(in.Host) == 0 {
		b.WriteString(HostsBase)
	} else {
		b.Write(in.Host)
		if !bytes.HasSuffix(in.Host, []byte("\n")) {
			b.WriteByte('\n')
		}
	}
	for _, entry := range in.Extra {
		name, address, err := parseExtraHost(entry, in.Gateway)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s\t%s\n", address, name)
	}
	if in.Address.IsValid() {
		names := in.Hostname
		if in.Domainname != "" {
			names = in.Hostname + "." + in.Domainname + " " + in.Hostname
		}
		fmt.Fprintf(&b, "%s\t%s\n", in.Address, names)
	}
	return b.Bytes(), nil
}

// parseExtraHost reads one --add-host. An IPv6 address may stand in brackets.
func parseExtraHost(entry string, gateway netip.Addr) (name string, address netip.Addr, err error) {
	invalid := func(format string, args ...any) error {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
	}
	at := strings.IndexAny(entry, ":=")
	if at <= 0 || strings.ContainsAny(entry[:at], " \t\r\n#") {
		return "", address, invalid("bad format for add-host: %q", entry)
	}
	name, text := entry[:at], entry[at+1:]
	if text == "host-gateway" {
		if !gateway.IsValid() {
			return "", address, invalid("unable to derive the IP value for host-gateway in add-host %q", entry)
		}
		return name, gateway, nil
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if address, err = netip.ParseAddr(text); err != nil || address.Zone() != "" {
		return "", address, invalid("invalid IP address in add-host: %q", text)
	}
	return name, address, nil
}
