package network

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/nftables"
	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// settle is how long the host's firewall is left alone after a change, so that
// a tool that replaces all of it is done before it is looked at.
const settle = 200 * time.Millisecond

// watcher puts the engine's rules back when someone else's change took them
// away: a reload of the host's firewall flushes them, and a Docker that starts
// later drops what it does not know.
type watcher struct {
	conn    *mdnetlink.Conn
	changed chan struct{}
	stop    chan struct{}
	done    chan struct{}
}

// watch begins to watch; unwatch ends it.
func (m *Manager) watch() error {
	conn, err := mdnetlink.Dial(unix.NETLINK_NETFILTER, &mdnetlink.Config{
		Groups: 1 << (unix.NFNLGRP_NFTABLES - 1), NetNS: int(m.netns.Fd()),
	})
	if err != nil {
		return fmt.Errorf("watching the firewall: %w", err)
	}
	m.watcher = &watcher{conn: conn, changed: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go m.watcher.listen()
	go m.mendFirewall(m.watcher)
	return nil
}

func (m *Manager) unwatch() {
	if m.watcher == nil {
		return
	}
	close(m.watcher.stop)
	m.watcher.conn.Close() // ends listen
	<-m.watcher.done
	m.watcher = nil
}

// listen turns whatever happens to the host's tables into one signal.
func (w *watcher) listen() {
	defer close(w.changed)
	for {
		_, err := w.conn.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) { // more happened than fits: look, too
			return
		}
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

func (m *Manager) mendFirewall(w *watcher) {
	defer close(w.done)
	for range w.changed {
		select {
		case <-w.stop:
			return
		case <-time.After(settle):
		}
		if err := m.restoreFirewall(); err != nil {
			m.log.Error("putting back the firewall rules", "table", m.opts.Table, "error", err)
		}
	}
}

// restoreFirewall applies the rules if they are not there.
func (m *Manager) restoreFirewall() error {
	stands, err := firewallStands(m.netns, m.firewall())
	if err != nil || stands {
		return err
	}
	m.log.Warn("the host's firewall was changed: putting back the rules of the network", "table", m.opts.Table)
	warn, err := applyFirewall(m.netns, m.firewall())
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.warn = warn
	return nil
}

// firewallStands says whether the engine's table is there, and its rules where
// Docker wants them.
func firewallStands(netns *os.File, s firewallState) (bool, error) {
	c, err := nftables.New(nftables.WithNetNSFd(int(netns.Fd())))
	if err != nil {
		return false, fmt.Errorf("opening nftables: %w", err)
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, explain(err)
	}
	ours := 0
	for _, ch := range chains {
		if ch.Table.Name == s.Table {
			ours++
		}
	}
	f, err := readForeign(c, s)
	if err != nil {
		return false, err
	}
	return ours == len(s.chains()) && (f.dockerUser == nil || len(f.ours) == foreignRules), nil
}

// mendBridge gives the bridge's index, and makes the bridge again, with the
// links of its containers, if someone removed it.
func (m *Manager) mendBridge() (int, error) {
	m.mending.Lock()
	defer m.mending.Unlock()
	link, err := m.rt.LinkByIndex(m.bridge)
	if err == nil && link.Attrs().Name == m.opts.Bridge {
		return m.bridge, nil
	}
	if err != nil && !isGone(err) {
		return 0, fmt.Errorf("looking for the bridge: %w", err)
	}
	m.log.Warn("the bridge was removed: making it again", "bridge", m.opts.Bridge)
	if err := m.openBridge(m.address()); err != nil {
		return 0, err
	}
	for _, name := range m.linkNames() {
		link, err := m.rt.LinkByName(name)
		if err == nil {
			err = m.rt.LinkSetMasterByIndex(link, m.bridge)
		}
		if err != nil && !isGone(err) {
			return 0, fmt.Errorf("joining %s to %s: %w", name, m.opts.Bridge, err)
		}
	}
	return m.bridge, nil
}

// linkNames are the host's ends that the endpoints may have.
func (m *Manager) linkNames() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for id, e := range m.endpoints {
		if e.IPAddress.IsValid() {
			names = append(names, linkName(HomeProcess, id), linkName(HomeVM, id))
		}
	}
	return names
}
