package network

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// applyFirewall replaces the engine's table by what the state asks for, in one
// transaction, and returns what a user should know about the host's own rules.
func applyFirewall(netns *os.File, s firewallState) (warnings []string, err error) {
	c, err := nftables.New(nftables.WithNetNSFd(int(netns.Fd())))
	if err != nil {
		return nil, fmt.Errorf("opening nftables: %w", err)
	}
	foreign, err := readForeign(c, s)
	if err != nil {
		return nil, err
	}
	table := &nftables.Table{Name: s.Table, Family: nftables.TableFamilyINet}
	c.AddTable(table) // so that there is one to delete
	c.DelTable(table)
	c.AddTable(table)
	accept := nftables.ChainPolicyAccept
	for _, want := range s.chains() {
		ch := c.AddChain(&nftables.Chain{Name: want.name, Table: table, Type: want.kind, Hooknum: want.hook, Priority: want.priority, Policy: &accept})
		for _, r := range want.rules {
			c.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: r.exprs})
		}
	}
	if err := foreign.replace(c, s); err != nil {
		return nil, err
	}
	if err := c.Flush(); err != nil {
		return nil, explain(err)
	}
	return foreign.warnings(s), nil
}

// removeFirewall takes away the engine's table and its rules elsewhere.
func removeFirewall(netns *os.File, s firewallState) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(netns.Fd())))
	if err != nil {
		return fmt.Errorf("opening nftables: %w", err)
	}
	foreign, err := readForeign(c, s)
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: s.Table, Family: nftables.TableFamilyINet}
	c.AddTable(table)
	c.DelTable(table)
	if err := foreign.remove(c); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return explain(err)
	}
	return nil
}

// explain says what is missing where the kernel cannot do what the rules need.
func explain(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("the kernel has no nf_tables with connection tracking and masquerading (CONFIG_NF_TABLES_INET, CONFIG_NFT_CT, CONFIG_NFT_MASQ): load the modules nf_tables, nft_ct, nft_masq, or use another kernel: %w: %w", err, errdefs.ErrFailedPrecondition)
	}
	return fmt.Errorf("setting the firewall: %w", err)
}

// foreign is what the host's iptables (nf_tables) rules say about forwarding,
// in the table that Docker uses.
type foreign struct {
	dockerUser *nftables.Chain // nil: there is none
	ours       []*nftables.Rule
	drops      bool // FORWARD's policy
}

// readForeign looks at the table "ip filter". Where Docker runs, FORWARD drops
// what it does not know; DOCKER-USER is the place for others.
func readForeign(c *nftables.Conn, s firewallState) (foreign, error) {
	var f foreign
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return f, explain(err)
	}
	for _, ch := range chains {
		if ch.Table.Name != "filter" {
			continue
		}
		switch ch.Name {
		case "FORWARD":
			f.drops = ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop
		case "DOCKER-USER":
			f.dockerUser = ch
		}
	}
	if f.dockerUser == nil {
		return f, nil
	}
	rules, err := c.GetRules(f.dockerUser.Table, f.dockerUser)
	if err != nil {
		return f, fmt.Errorf("reading the rules of DOCKER-USER: %w", err)
	}
	for _, r := range rules {
		if comment, ok := userdata.GetString(r.UserData, userdata.TypeComment); ok && comment == s.mark() {
			f.ours = append(f.ours, r)
		}
	}
	return f, nil
}

// foreignRules is how many rules the engine has in Docker's chain.
const foreignRules = 2

// mark is the comment by which the engine finds its rules in others' chains.
func (s firewallState) mark() string { return "bothy:" + s.Table }

func (f foreign) remove(c *nftables.Conn) error {
	for _, r := range f.ours {
		if err := c.DelRule(r); err != nil {
			return fmt.Errorf("removing a rule of DOCKER-USER: %w", err)
		}
	}
	return nil
}

// replace lets the bridge's traffic through DOCKER-USER. That it is not more
// than should pass is for the engine's own table, whose drops count as well.
// The rules have the form that iptables writes, so that it can still read them.
func (f foreign) replace(c *nftables.Conn, s firewallState) error {
	if f.dockerUser == nil {
		return nil
	}
	if err := f.remove(c); err != nil {
		return err
	}
	for _, key := range [foreignRules]expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
		c.InsertRule(&nftables.Rule{
			Table: f.dockerUser.Table, Chain: f.dockerUser,
			UserData: userdata.AppendString(nil, userdata.TypeComment, s.mark()),
			Exprs: []expr.Any{
				&expr.Meta{Key: key, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(s.Bridge), 0)},
				&expr.Counter{},
				&expr.Verdict{Kind: expr.VerdictAccept},
			},
		})
	}
	return nil
}

func (f foreign) warnings(s firewallState) []string {
	if !f.drops || f.dockerUser != nil {
		return nil
	}
	return []string{fmt.Sprintf(
		"the host's firewall drops forwarded packets (policy of FORWARD in the table \"ip filter\"): containers do not reach the outside until it accepts those from and to %s", s.Bridge)}
}
