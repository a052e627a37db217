package executor

import (
	"context"

	cgroupstats "github.com/containerd/cgroups/v3/cgroup2/stats"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/cgroups"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Stats answers with containerd's cgroup v2 Metrics, also where the machine has
// cgroup v1. MemoryEvents.OomKill counts the processes that were killed for want
// of memory; that and only that can be asked for after the exit, until Delete.
func (s *Service) Stats(_ context.Context, r *taskapi.StatsRequest) (*taskapi.StatsResponse, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	if err := c.init.allow(opStats); err != nil {
		return nil, err
	}
	st, err := c.cgroup.GetStats()
	if err != nil {
		if c.init.view().state != stateStopped {
			return nil, wrap(err, "reading statistics of container %s", c.id)
		}
		st = cgroups.NewStats()
	}
	m := metrics(st, c.oomKills())
	m.Network = c.networkStats()
	value, err := proto.Marshal(m)
	if err != nil {
		return nil, wrap(err, "encoding statistics of container %s", c.id)
	}
	return &taskapi.StatsResponse{Stats: &anypb.Any{TypeUrl: "io.containerd.cgroups.v2.Metrics", Value: value}}, nil
}

// metrics puts libcontainer's statistics, of either cgroup version, into the
// words of cgroup v2: times in microseconds, sizes in bytes.
func metrics(st *cgroups.Stats, oomKills uint64) *cgroupstats.Metrics {
	cpu := st.CpuStats
	return &cgroupstats.Metrics{
		Pids: &cgroupstats.PidsStat{Current: st.PidsStats.Current, Limit: st.PidsStats.Limit},
		CPU: &cgroupstats.CPUStat{
			UsageUsec:     cpu.CpuUsage.TotalUsage / 1000,
			UserUsec:      cpu.CpuUsage.UsageInUsermode / 1000,
			SystemUsec:    cpu.CpuUsage.UsageInKernelmode / 1000,
			NrPeriods:     cpu.ThrottlingData.Periods,
			NrThrottled:   cpu.ThrottlingData.ThrottledPeriods,
			ThrottledUsec: cpu.ThrottlingData.ThrottledTime / 1000,
			NrBursts:      cpu.BurstData.BurstsPeriods,
			BurstUsec:     cpu.BurstData.BurstTime / 1000,
			PSI:           psi(cpu.PSI),
		},
		Memory:       memory(&st.MemoryStats),
		Io:           blockIO(&st.BlkioStats),
		MemoryEvents: &cgroupstats.MemoryEvents{OomKill: oomKills},
	}
}

func memory(m *cgroups.MemoryStats) *cgroupstats.MemoryStat {
	// v1 names the sums over child cgroups total_*, and some values differently.
	stat := func(v2, v1 string) uint64 {
		if v, ok := m.Stats["total_"+v1]; ok {
			return v
		}
		return m.Stats[v2]
	}
	swap := m.SwapOnlyUsage
	return &cgroupstats.MemoryStat{
		Usage:        m.Usage.Usage,
		UsageLimit:   m.Usage.Limit,
		MaxUsage:     m.Usage.MaxUsage,
		SwapUsage:    swap.Usage,
		SwapLimit:    swap.Limit,
		SwapMaxUsage: swap.MaxUsage,
		Anon:         stat("anon", "rss"),
		File:         stat("file", "cache"),
		Shmem:        stat("shmem", "shmem"),
		FileMapped:   stat("file_mapped", "mapped_file"),
		FileDirty:    stat("file_dirty", "dirty"),
		InactiveAnon: stat("inactive_anon", "inactive_anon"),
		ActiveAnon:   stat("active_anon", "active_anon"),
		InactiveFile: stat("inactive_file", "inactive_file"),
		ActiveFile:   stat("active_file", "active_file"),
		Unevictable:  stat("unevictable", "unevictable"),
		Pgfault:      stat("pgfault", "pgfault"),
		Pgmajfault:   stat("pgmajfault", "pgmajfault"),
		KernelStack:  m.Stats["kernel_stack"],
		Slab:         m.Stats["slab"],
		Sock:         m.Stats["sock"],
		PSI:          psi(m.PSI),
	}
}

// blockIO sums the entries of each device: one per operation in both versions.
func blockIO(b *cgroups.BlkioStats) *cgroupstats.IOStat {
	io := &cgroupstats.IOStat{PSI: psi(b.PSI)}
	type device struct{ major, minor uint64 }
	entries := map[device]*cgroupstats.IOEntry{}
	entry := func(e cgroups.BlkioStatEntry) *cgroupstats.IOEntry {
		d := device{e.Major, e.Minor}
		if entries[d] == nil {
			entries[d] = &cgroupstats.IOEntry{Major: e.Major, Minor: e.Minor}
			io.Usage = append(io.Usage, entries[d])
		}
		return entries[d]
	}
	for _, e := range b.IoServiceBytesRecursive {
		switch e.Op {
		case "Read":
			entry(e).Rbytes += e.Value
		case "Write":
			entry(e).Wbytes += e.Value
		}
	}
	for _, e := range b.IoServicedRecursive {
		switch e.Op {
		case "Read":
			entry(e).Rios += e.Value
		case "Write":
			entry(e).Wios += e.Value
		}
	}
	return io
}

func psi(p *cgroups.PSIStats) *cgroupstats.PSIStats {
	if p == nil {
		return nil
	}
	data := func(d cgroups.PSIData) *cgroupstats.PSIData {
		return &cgroupstats.PSIData{Avg10: d.Avg10, Avg60: d.Avg60, Avg300: d.Avg300, Total: d.Total}
	}
	return &cgroupstats.PSIStats{Some: data(p.Some), Full: data(p.Full)}
}
