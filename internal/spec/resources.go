package spec

import (
	"fmt"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

const cfsPeriod = 100_000 // microseconds, the kernel's default

func resources(in Input, s *specs.Spec) error {
	res, err := Resources(in)
	s.Linux.Resources = res
	return err
}

// Resources are the limits of a container's cgroup, without device rules.
func Resources(in Input) (*specs.LinuxResources, error) {
	r := &in.HostConfig.Resources
	memory, err := memoryLimits(in, r)
	if err != nil {
		return nil, err
	}
	io, err := blockIO(in.Devices, r)
	if err != nil {
		return nil, err
	}
	res := &specs.LinuxResources{Memory: memory, CPU: cpuLimits(r), BlockIO: io}
	if r.PidsLimit != nil && *r.PidsLimit > 0 {
		limit := *r.PidsLimit
		res.Pids = &specs.LinuxPids{Limit: &limit}
	}
	return res, nil
}

func memoryLimits(in Input, r *container.Resources) (*specs.LinuxMemory, error) {
	m := &specs.LinuxMemory{}
	if r.Memory > 0 {
		m.Limit = &r.Memory
	}
	if r.MemoryReservation > 0 {
		m.Reservation = &r.MemoryReservation
	}
	switch swap := r.MemorySwap; {
	case swap != 0:
		m.Swap = &swap
	case r.Memory > 0 && !in.NoSwapLimit:
		swap = 2 * r.Memory
		m.Swap = &swap
	}
	v1 := in.Home == Process && in.CgroupV1
	if r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 {
		if !v1 {
			return nil, invalidf("--memory-swappiness: cgroup v2 has no such setting; leave it out")
		}
		swappiness := uint64(*r.MemorySwappiness)
		m.Swappiness = &swappiness
	}
	if r.OomKillDisable != nil && *r.OomKillDisable {
		if !v1 {
			return nil, invalidf("--oom-kill-disable: cgroup v2 has no such setting; leave it out")
		}
		m.DisableOOMKiller = r.OomKillDisable
	}
	if *m == (specs.LinuxMemory{}) {
		return nil, nil
	}
	return m, nil
}

func cpuLimits(r *container.Resources) *specs.LinuxCPU {
	c := &specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	if r.CPUShares != 0 {
		shares := uint64(r.CPUShares)
		c.Shares = &shares
	}
	period, quota := uint64(r.CPUPeriod), r.CPUQuota
	if r.NanoCPUs > 0 {
		period, quota = cfsPeriod, r.NanoCPUs*cfsPeriod/1_000_000_000
	}
	if period != 0 {
		c.Period = &period
	}
	if quota != 0 {
		c.Quota = &quota
	}
	if *c == (specs.LinuxCPU{}) {
		return nil
	}
	return c
}

func blockIO(devs Devices, r *container.Resources) (*specs.LinuxBlockIO, error) {
	io := &specs.LinuxBlockIO{}
	used := false
	if r.BlkioWeight != 0 {
		weight := r.BlkioWeight
		io.Weight, used = &weight, true
	}
	for _, w := range r.BlkioWeightDevice {
		d, err := devs.Device(w.Path)
		if err != nil {
			return nil, fmt.Errorf("--blkio-weight-device %s: %w", w, err)
		}
		weighted := specs.LinuxWeightDevice{Weight: &w.Weight}
		weighted.Major, weighted.Minor = d.Major, d.Minor
		io.WeightDevice, used = append(io.WeightDevice, weighted), true
	}
	for _, t := range []struct {
		option string
		asked  []*blkiodev.ThrottleDevice
		into   *[]specs.LinuxThrottleDevice
	}{
		{"--device-read-bps", r.BlkioDeviceReadBps, &io.ThrottleReadBpsDevice},
		{"--device-write-bps", r.BlkioDeviceWriteBps, &io.ThrottleWriteBpsDevice},
		{"--device-read-iops", r.BlkioDeviceReadIOps, &io.ThrottleReadIOPSDevice},
		{"--device-write-iops", r.BlkioDeviceWriteIOps, &io.ThrottleWriteIOPSDevice},
	} {
		for _, limit := range t.asked {
			d, err := devs.Device(limit.Path)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", t.option, limit, err)
			}
			throttle := specs.LinuxThrottleDevice{Rate: limit.Rate}
			throttle.Major, throttle.Minor = d.Major, d.Minor
			*t.into, used = append(*t.into, throttle), true
		}
	}
	if !used {
		return nil, nil
	}
	return io, nil
}
