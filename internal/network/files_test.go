package network

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestResolvConf(t *testing.T) {
	t.Parallel()
	const host = "# by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.1 # ours\nnameserver ::1\nnameserver 2001:db8::1\nsearch a.example b.example\noptions edns0\noptions trust-ad\nsortlist 1.2.3.4\n"
	for name, tc := range map[string]struct {
		host     string
		dns      DNS
		isolated bool
		want     string
	}{
		"own network":  {host, DNS{}, true, "nameserver 10.0.0.1\nsearch a.example b.example\noptions edns0 trust-ad\n"},
		"host network": {host, DNS{}, false, "nameserver 127.0.0.53\nnameserver 10.0.0.1\nnameserver ::1\nnameserver 2001:db8::1\nsearch a.example b.example\noptions edns0 trust-ad\n"},
		"settings":     {host, DNS{Servers: []string{"127.0.0.1"}, Search: []string{"c"}, Options: []string{"ndots:2"}}, true, "nameserver 127.0.0.1\nsearch c\noptions ndots:2\n"},
		"no search":    {host, DNS{Search: []string{"."}}, true, "nameserver 10.0.0.1\noptions edns0 trust-ad\n"},
		"nothing left": {"nameserver 127.0.0.1\n", DNS{}, true, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"},
		"no file":      {"", DNS{}, true, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"},
		"host no file": {"", DNS{}, false, ""},
		"domain":       {"domain d\nnameserver 1.1.1.1", DNS{}, true, "nameserver 1.1.1.1\nsearch d\n"},
	} {
		if got := string(ResolvConf([]byte(tc.host), tc.dns, tc.isolated)); got != tc.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, tc.want)
		}
	}
}

func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 1.1.1.1\nsearch a b\noptions x", true)
	f.Add("nameserver\t\x00\r\nnameserver fe80::1%eth0", false)
	f.Fuzz(func(t *testing.T, host string, isolated bool) {
		once := ResolvConf([]byte(host), DNS{}, isolated)
		if twice := ResolvConf(once, DNS{}, isolated); string(twice) != string(once) {
			t.Errorf("%q reads as %q", once, twice)
		}
	})
}

func TestHosts(t *testing.T) {
	t.Parallel()
	gateway, own := netip.MustParseAddr("172.17.0.1"), netip.MustParseAddr("172.17.0.2")
	for name, tc := range map[string]struct {
		in   HostsInput
		want string
	}{
		"plain":  {HostsInput{Address: own, Hostname: "h"}, HostsBase + "172.17.0.2\th\n"},
		"domain": {HostsInput{Address: own, Hostname: "h", Domainname: "d.e"}, HostsBase + "172.17.0.2\th.d.e h\n"},
		"none":   {HostsInput{Hostname: "h"}, HostsBase},
		"host":   {HostsInput{Host: []byte("127.0.0.1 me"), Extra: []string{"a=1.2.3.4"}}, "127.0.0.1 me\n1.2.3.4\ta\n"},
		"extra": {
			HostsInput{Extra: []string{"a:10.0.0.1", "b=[2001:db8::1]", "c:2001:db8::2", "g:host-gateway"}, Gateway: gateway, Address: own, Hostname: "h"},
			HostsBase + "10.0.0.1\ta\n2001:db8::1\tb\n2001:db8::2\tc\n172.17.0.1\tg\n172.17.0.2\th\n",
		},
	} {
		got, err := Hosts(tc.in)
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, tc.want)
		}
	}
	for _, bad := range []string{"", "a", ":1.2.3.4", "a:", "a:1.2.3", "a b:1.2.3.4", "a:fe80::1%eth0", "a:host-gateway", "a\nb:1.2.3.4"} {
		if _, err := Hosts(HostsInput{Extra: []string{bad}}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzHosts(f *testing.F) {
	f.Add("a:1.2.3.4")
	f.Add("a=[::1]")
	f.Add("g:host-gateway")
	f.Fuzz(func(t *testing.T, entry string) {
		got, err := Hosts(HostsInput{Extra: []string{entry}, Gateway: netip.MustParseAddr("1.1.1.1")})
		if err != nil {
			return
		}
		if lines := strings.Count(string(got), "\n") - strings.Count(HostsBase, "\n"); lines != 1 {
			t.Errorf("%q makes %d lines", entry, lines)
		}
	})
}
