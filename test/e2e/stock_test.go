package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// stock is what a host holds of the kinds of things that an engine makes.
type stock map[string]bool

// takeStock lists processes of ours, mounts, network links, firewall tables,
// and cgroups.
func takeStock() (stock, error) {
	s := stock{}
	for _, list := range []func(stock) error{listProcesses, listMounts, listLinks, listTables, listCgroups} {
		if err := list(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s stock) since(before stock) []string {
	var left []string
	for item := range s {
		if !before[item] {
			left = append(left, item)
		}
	}
	slices.Sort(left)
	return left
}

// listProcesses lists what runs bothy's programs or a machine monitor; the
// host's other processes come and go on their own.
func listProcesses(s stock) error {
	comms, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, path := range comms {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		args := strings.ReplaceAll(string(raw), "\x00", " ")
		for _, name := range []string{"bothyd", "containerd-shim-bothy-v2", "qemu-system-", "docker-registry"} {
			if program, _, _ := strings.Cut(args, " "); strings.Contains(program, name) {
				s[fmt.Sprintf("process %s: %s", filepath.Base(filepath.Dir(path)), args)] = true
			}
		}
	}
	return nil
}

func listMounts(s stock) error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for scan := bufio.NewScanner(bytes.NewReader(raw)); scan.Scan(); {
		if f := strings.Fields(scan.Text()); len(f) > 4 {
			s["mount "+f[4]] = true
		}
	}
	return nil
}

func listLinks(s stock) error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		s["network link "+l.Attrs().Name] = true
	}
	return nil
}

func listTables(s stock) error {
	tables, err := (&nftables.Conn{}).ListTables()
	if err != nil {
		return err
	}
	for _, t := range tables {
		s["firewall table "+t.Name] = true
	}
	return nil
}

func listCgroups(s stock) error {
	return filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			s["cgroup "+path] = true
		}
		return nil // a cgroup that went away under us
	})
}
