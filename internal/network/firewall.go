package network

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// firewallState is all that the firewall follows from.
type firewallState struct {
	Table  string
	Bridge string
	Subnet netip.Prefix
}

func (m *Manager) firewall() firewallState {
	return firewallState{Table: m.opts.Table, Bridge: m.opts.Bridge, Subnet: m.subnet}
}

// chain is a base chain of the engine's table, with its rules.
type chain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	head     string // as nft writes it
	rules    []rule
}

// rule is one rule: its text, as nft writes it, and its expressions.
type rule struct {
	text  string
	exprs []expr.Any
}

// part is a piece of a rule.
type part struct {
	text  string
	exprs []expr.Any
}

func ruleOf(parts ...part) rule {
	var r rule
	var words []string
	for _, p := range parts {
		words = append(words, p.text)
		r.exprs = append(r.exprs, p.exprs...)
	}
	r.text = strings.Join(words, " ")
	return r
}

// chains computes the firewall. What comes from the containers may leave, by
// the host's address where it goes outside; what goes to them must belong to
// a connection of theirs or come from one of them.
func (s firewallState) chains() []chain {
	return []chain{
		{
			name: "forward", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookForward, priority: nftables.ChainPriorityFilter,
			head: "type filter hook forward priority filter; policy accept;",
			rules: []rule{
				ruleOf(link(expr.MetaKeyOIFNAME, expr.CmpOpEq, s.Bridge), tracked(), verdict(expr.VerdictAccept)),
				ruleOf(link(expr.MetaKeyIIFNAME, expr.CmpOpEq, s.Bridge), verdict(expr.VerdictAccept)),
				ruleOf(link(expr.MetaKeyOIFNAME, expr.CmpOpEq, s.Bridge), verdict(expr.VerdictDrop)),
			},
		},
		{
			name: "postrouting", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookPostrouting, priority: nftables.ChainPriorityNATSource,
			head:  "type nat hook postrouting priority srcnat; policy accept;",
			rules: []rule{ruleOf(source(s.Subnet), link(expr.MetaKeyOIFNAME, expr.CmpOpNeq, s.Bridge), masquerade())},
		},
	}
}

// String is the table as `nft list table` would write it.
func (s firewallState) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", s.Table)
	for i, c := range s.chains() {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "\tchain %s {\n\t\t%s\n", c.name, c.head)
		for _, r := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", r.text)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// link matches the link that a packet came by or leaves by.
func link(key expr.MetaKey, op expr.CmpOp, name string) part {
	text := "oifname "
	if key == expr.MetaKeyIIFNAME {
		text = "iifname "
	}
	if op == expr.CmpOpNeq {
		text += "!= "
	}
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return part{text + `"` + name + `"`, []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: padded},
	}}
}

// tracked matches packets of connections that there are already.
func tracked() part {
	bits := expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	return part{"ct state established,related", []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{byte(bits), 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}}
}

// source matches an IPv4 subnet.
func source(subnet netip.Prefix) part {
	const sourceOffset = 12 // in the IPv4 header
	mask := ipNet(subnet).Mask
	return part{"ip saddr " + subnet.String(), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: sourceOffset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: subnet.Addr().AsSlice()},
	}}
}

func masquerade() part { return part{"masquerade", []expr.Any{&expr.Masq{}}} }

func verdict(kind expr.VerdictKind) part {
	text := "accept"
	if kind == expr.VerdictDrop {
		text = "drop"
	}
	return part{text, []expr.Any{&expr.Verdict{Kind: kind}}}
}
