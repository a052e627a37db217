package engine

import (
	"context"
	"fmt"
	"time"

	cgroupstats "github.com/containerd/cgroups/v3/cgroup2/stats"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"bothy/internal/engineapi"
)

// statsEvery is the time between two samples; docker's.
const statsEvery = time.Second

// ContainerStats hands what the container uses to send: once, or with Stream
// every second until ctx ends, send fails or the container is removed. One that
// does not run uses nothing, and streams go on over its next start.
func (u *Usage) ContainerStats(ctx context.Context, ref string, req engineapi.StatsRequest, send func(*container.StatsResponse) error) error {
	c, err := u.containers.index.find(ref)
	if err != nil {
		return err
	}
	sample, err := u.sample(ctx, c, nil)
	if err != nil {
		return err
	}
	if !req.Stream && (req.OneShot || sample.Read.IsZero()) {
		return send(sample)
	}
	if req.Stream {
		if err := send(sample); err != nil {
			return err
		}
	}
	tick := time.NewTicker(statsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-u.containers.ctx.Done():
			return nil
		}
		if c.isGone() {
			return nil
		}
		if sample, err = u.sample(ctx, c, sample); err != nil {
			return err
		}
		if err := send(sample); err != nil || !req.Stream {
			return err
		}
	}
}

// sample measures once; before is the sample that it follows, or nil. A
// container that does not run has one without a time.
func (u *Usage) sample(ctx context.Context, c *ctr, before *container.StatsResponse) (*container.StatsResponse, error) {
	rec, st := c.snapshot()
	resp := &container.StatsResponse{ID: c.id, Name: "/" + rec.Name, OSType: "linux"}
	t, err := c.shim(opTop)
	if errdefs.IsNotFound(err) {
		return nil, err
	}
	if err != nil {
		return resp, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	answer, err := t.Stats(ctx, &taskAPI.StatsRequest{ID: c.id})
	if err != nil && hasEnded(err) {
		return resp, nil
	}
	var m cgroupstats.Metrics
	if err == nil {
		err = proto.Unmarshal(answer.GetStats().GetValue(), &m)
	}
	if err != nil {
		return nil, fmt.Errorf("measuring container %s: %w", shortID(c.id), err)
	}
	resp.Read = time.Now().UTC()
	u.containers.starter.host.measured(resp, &m, st.Machine)
	if before != nil {
		resp.PreRead, resp.PreCPUStats = before.Read, before.CPUStats
	}
	return resp, nil
}

// measured fills in docker's numbers. Times of processors are those of the
// machine that the container sees: this host, or its own.
func (h host) measured(resp *container.StatsResponse, m *cgroupstats.Metrics, machine *machineStatus) {
	memory := uint64(max(h.memory, 0))
	resp.CPUStats = cpuStats(m.GetCPU())
	if machine == nil {
		resp.CPUStats.OnlineCPUs, resp.CPUStats.SystemUsage = uint32(h.cpus), hostCPUTime()
	} else {
		memory = uint64(max(machine.Memory, 0))
		resp.CPUStats.OnlineCPUs, resp.CPUStats.SystemUsage = uint32(machine.CPUs), uint64(machine.CPUs)*uptime()
	}
	resp.MemoryStats = memoryStats(m.GetMemory(), memory)
	resp.PidsStats = container.PidsStats{Current: m.GetPids().GetCurrent(), Limit: m.GetPids().GetLimit()}
	resp.BlkioStats = blkioStats(m.GetIo())
	resp.Networks = networkStats(m.GetNetwork())
}

// cpuStats turns microseconds into docker's nanoseconds.
func cpuStats(cpu *cgroupstats.CPUStat) container.CPUStats {
	const micro = 1000
	return container.CPUStats{
		CPUUsage: container.CPUUsage{
			TotalUsage: cpu.GetUsageUsec() * micro, UsageInKernelmode: cpu.GetSystemUsec() * micro, UsageInUsermode: cpu.GetUserUsec() * micro,
		},
		ThrottlingData: container.ThrottlingData{
			Periods: cpu.GetNrPeriods(), ThrottledPeriods: cpu.GetNrThrottled(), ThrottledTime: cpu.GetThrottledUsec() * micro,
		},
	}
}

// memoryStats has the names of cgroup v2 in either version. A container without
// a limit is limited by its machine's memory.
func memoryStats(m *cgroupstats.MemoryStat, machine uint64) container.MemoryStats {
	limit := m.GetUsageLimit()
	if limit == 0 || machine > 0 && limit > machine {
		limit = machine
	}
	return container.MemoryStats{
		Usage: m.GetUsage(), MaxUsage: m.GetMaxUsage(), Limit: limit,
		Stats: map[string]uint64{
			"anon": m.GetAnon(), "file": m.GetFile(), "shmem": m.GetShmem(), "file_mapped": m.GetFileMapped(), "file_dirty": m.GetFileDirty(),
			"inactive_anon": m.GetInactiveAnon(), "active_anon": m.GetActiveAnon(), "inactive_file": m.GetInactiveFile(), "active_file": m.GetActiveFile(),
			"unevictable": m.GetUnevictable(), "pgfault": m.GetPgfault(), "pgmajfault": m.GetPgmajfault(),
			"kernel_stack": m.GetKernelStack(), "slab": m.GetSlab(), "sock": m.GetSock(), "swap": m.GetSwapUsage(),
		},
	}
}

func blkioStats(io *cgroupstats.IOStat) container.BlkioStats {
	stats := container.BlkioStats{IoServiceBytesRecursive: []container.BlkioStatEntry{}, IoServicedRecursive: []container.BlkioStatEntry{}}
	for _, e := range io.GetUsage() {
		entry := func(op string, value uint64) container.BlkioStatEntry {
			return container.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: op, Value: value}
		}
		stats.IoServiceBytesRecursive = append(stats.IoServiceBytesRecursive, entry("read", e.Rbytes), entry("write", e.Wbytes))
		stats.IoServicedRecursive = append(stats.IoServicedRecursive, entry("read", e.Rios), entry("write", e.Wios))
	}
	return stats
}

// networkStats is nil for a container without interfaces of its own.
func networkStats(all []*cgroupstats.NetworkStat) map[string]container.NetworkStats {
	if len(all) == 0 {
		return nil
	}
	stats := make(map[string]container.NetworkStats, len(all))
	for _, n := range all {
		stats[n.Name] = container.NetworkStats{
			RxBytes: n.RxBytes, RxPackets: n.RxPackets, RxErrors: n.RxErrors, RxDropped: n.RxDropped,
			TxBytes: n.TxBytes, TxPackets: n.TxPackets, TxErrors: n.TxErrors, TxDropped: n.TxDropped,
		}
	}
	return stats
}

// uptime is a monotonic time in nanoseconds that no restart of the engine sets
// back.
func uptime() uint64 {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return uint64(now.Nano())
}
