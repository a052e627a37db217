package executor

import (
	"os"
	"slices"
	"strconv"
	"strings"

	cgroupstats "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// networkStats counts what went through the container's interfaces, the
// loopback left out; none if its network is the machine's, or it has ended.
func (c *container) networkStats() []*cgroupstats.NetworkStat {
	v := c.init.view()
	if !c.ownNet || v.pid == 0 || v.state == stateStopped {
		return nil
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(v.pid) + "/net/dev")
	if err != nil {
		return nil // it has just ended
	}
	return parseNetDev(string(data))
}

// hasNetNS says that a container's network is not the machine's.
func hasNetNS(spec *specs.Spec) bool {
	return slices.ContainsFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.NetworkNamespace })
}

// parseNetDev reads /proc/PID/net/dev: after two lines of titles, each
// interface's name, eight counters of what it received, and eight of what it
// sent.
func parseNetDev(text string) []*cgroupstats.NetworkStat {
	var stats []*cgroupstats.NetworkStat
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if name = strings.TrimSpace(name); !ok || name == "lo" || len(fields) < 16 {
			continue
		}
		var n [16]uint64
		for i := range n {
			n[i], _ = strconv.ParseUint(fields[i], 10, 64)
		}
		stats = append(stats, &cgroupstats.NetworkStat{
			Name:    strings.ToValidUTF8(name, "?"),
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		})
	}
	return stats
}
