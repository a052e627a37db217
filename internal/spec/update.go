package spec

import (
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// fixed are limits that a container has from its creation on. Each says whether
// a change asks for it.
var fixed = []struct {
	option string
	asked  func(container.Resources) bool
}{
	{"--cgroup-parent", func(r container.Resources) bool { return r.CgroupParent != "" }},
	{"--device", func(r container.Resources) bool { return len(r.Devices) > 0 }},
	{"--device-cgroup-rule", func(r container.Resources) bool { return len(r.DeviceCgroupRules) > 0 }},
	{"--ulimit", func(r container.Resources) bool { return len(r.Ulimits) > 0 }},
	{"--blkio-weight-device, --device-read-bps and the like", func(r container.Resources) bool {
		return len(r.BlkioWeightDevice)+len(r.BlkioDeviceReadBps)+len(r.BlkioDeviceWriteBps)+len(r.BlkioDeviceReadIOps)+len(r.BlkioDeviceWriteIOps) > 0
	}},
	{"--memory-swappiness", func(r container.Resources) bool { return r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 }},
	{"--oom-kill-disable", func(r container.Resources) bool { return r.OomKillDisable != nil && *r.OomKillDisable }},
}

// Update gives the settings of a container whose limits are changed: those that
// the change does not name, the zero ones, stay. A change that makes no sense is
// ErrInvalidArgument, with docker's words; one that cannot be made while the
// container exists is ErrNotImplemented.
func Update(home Home, old *container.HostConfig, change container.UpdateConfig) (*container.HostConfig, error) {
	asked := request{cfg: &container.Config{}, hc: &container.HostConfig{Resources: change.Resources, RestartPolicy: change.RestartPolicy}}
	for _, refusal := range Refusals() {
		if (refusal.Home == "" || refusal.Home == home) && refusal.asked(asked) {
			return nil, refusal.err()
		}
	}
	for _, f := range fixed {
		if f.asked(change.Resources) {
			return nil, notYetf("%s cannot be changed while a container exists; make a new one with it", f.option)
		}
	}
	hc := *old
	if err := updateResources(&hc.Resources, change.Resources); err != nil {
		return nil, err
	}
	if err := updateRestartPolicy(&hc, change.RestartPolicy); err != nil {
		return nil, err
	}
	if err := validateResources(&hc.Resources); err != nil {
		return nil, err
	}
	return &hc, nil
}

func updateResources(r *container.Resources, change container.Resources) error {
	if err := conflicts(*r, change); err != nil {
		return err
	}
	set(&r.CPUShares, change.CPUShares)
	set(&r.NanoCPUs, change.NanoCPUs)
	set(&r.CPUPeriod, change.CPUPeriod)
	set(&r.CPUQuota, change.CPUQuota)
	set(&r.CpusetCpus, change.CpusetCpus)
	set(&r.CpusetMems, change.CpusetMems)
	set(&r.BlkioWeight, change.BlkioWeight)
	set(&r.Memory, change.Memory)
	set(&r.MemorySwap, change.MemorySwap)
	set(&r.MemoryReservation, change.MemoryReservation)
	set(&r.PidsLimit, change.PidsLimit)
	return nil
}

// set changes a limit, unless to is the zero value.
func set[T comparable](limit *T, to T) {
	var none T
	if to != none {
		*limit = to
	}
}

// conflicts finds changes that the limits which there are stand against.
func conflicts(r, change container.Resources) error {
	switch {
	case change.NanoCPUs > 0 && r.CPUPeriod > 0:
		return conflictf("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
	case change.NanoCPUs > 0 && r.CPUQuota > 0:
		return conflictf("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
	case change.CPUPeriod > 0 && r.NanoCPUs > 0:
		return conflictf("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
	case change.CPUQuota > 0 && r.NanoCPUs > 0:
		return conflictf("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
	case r.MemorySwap > 0 && change.Memory > r.MemorySwap && change.MemorySwap == 0:
		return conflictf("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	return nil
}

func updateRestartPolicy(hc *container.HostConfig, policy container.RestartPolicy) error {
	if policy.Name == "" {
		return nil
	}
	if err := container.ValidateRestartPolicy(policy); err != nil {
		return invalidf("%v", err)
	}
	if hc.AutoRemove && !policy.IsNone() {
		return conflictf("Restart policy cannot be updated because AutoRemove is enabled for the container")
	}
	hc.RestartPolicy = policy
	return nil
}

// UpdatedResources are the limits of a running container after a change; in has
// those that hold from then on. A limit that was there and is gone is named.
func UpdatedResources(in Input) (*specs.LinuxResources, error) {
	if in.Devices == nil {
		in.Devices = HostDevices{Dev: "/dev"}
	}
	res, err := Resources(in)
	if err != nil {
		return nil, err
	}
	if limit := in.HostConfig.PidsLimit; limit != nil && *limit <= 0 {
		unlimited := int64(-1)
		res.Pids = &specs.LinuxPids{Limit: &unlimited}
	}
	return res, nil
}
