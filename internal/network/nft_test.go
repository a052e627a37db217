package network

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func TestFirewallGolden(t *testing.T) {
	t.Parallel()
	s := firewallState{Table: "bothy", Bridge: "bothy0", Subnet: netip.MustParsePrefix("172.17.0.0/16")}
	want, err := os.ReadFile(filepath.Join("testdata", "firewall.nft"))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.String(); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// dockerTable makes the chains that Docker's iptables (nf_tables) leaves.
func dockerTable(c *nftables.Conn, withUser bool) error {
	table := c.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4})
	drop := nftables.ChainPolicyDrop
	forward := c.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward,
		Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	if withUser {
		c.AddChain(&nftables.Chain{Name: "DOCKER-USER", Table: table})
		c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: []expr.Any{
			&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictJump, Chain: "DOCKER-USER"},
		}})
	}
	return c.Flush()
}

func TestBesideDocker(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		if err := dockerTable(c, true); err != nil {
			t.Fatal(err)
		}
		out := outside(t)
		first := openTest(t, testOptions())
		m := openTest(t, testOptions()) // once more, as after a crash
		if len(m.Warnings()) != 0 {
			t.Errorf("warnings: %q", m.Warnings())
		}
		f, err := readForeign(c, m.firewall())
		if err != nil || len(f.ours) != 2 {
			t.Errorf("%d rules in DOCKER-USER, %v", len(f.ours), err)
		}
		ep, err := m.Attach(ctx, Request{ContainerID: "a", Home: HomeProcess})
		if err != nil {
			t.Fatal(err)
		}
		defer ep.File.Close()
		l, err := listenIn(out.file, "10.9.0.2:80")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := inside(ep.File, func() error { return reach(netip.MustParseAddr("10.9.0.2")) }); err != nil {
			t.Errorf("container to outside: %v", err)
		}
		if err := m.Close(ctx, false); err != nil {
			t.Fatal(err)
		}
		if f, err = readForeign(c, first.firewall()); err != nil || len(f.ours) != 0 {
			t.Errorf("%d rules left in DOCKER-USER, %v", len(f.ours), err)
		}
		tables, err := c.ListTables()
		if err != nil || len(tables) != 1 {
			t.Errorf("tables left: %d, %v", len(tables), err)
		}
	})
}

func TestForwardDropIsWarnedOf(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		c, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		if err := dockerTable(c, false); err != nil {
			t.Fatal(err)
		}
		if m := openTest(t, testOptions()); len(m.Warnings()) != 1 {
			t.Errorf("warnings: %q", m.Warnings())
		}
	})
}

func TestExplain(t *testing.T) {
	t.Parallel()
	if err := explain(unix.ENOENT); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "CONFIG_NFT_MASQ") {
		t.Error(err)
	}
	if err := explain(unix.EPERM); errdefs.IsFailedPrecondition(err) {
		t.Error(err)
	}
}
