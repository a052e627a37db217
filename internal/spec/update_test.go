package spec

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

func TestUpdateChangesWhatIsNamed(t *testing.T) {
	t.Parallel()
	five, none := int64(5), int64(-1)
	old := &container.HostConfig{ShmSize: 7, Resources: container.Resources{
		Memory: 100 << 20, MemorySwap: 200 << 20, CPUShares: 512, CpusetCpus: "0", PidsLimit: &five,
	}}
	hc, err := Update(VM, old, container.UpdateConfig{Resources: container.Resources{
		Memory: 150 << 20, MemoryReservation: 50 << 20, NanoCPUs: 1e9, CpusetCpus: "1", BlkioWeight: 300, PidsLimit: &none,
	}, RestartPolicy: container.RestartPolicy{Name: "no"}})
	if err != nil {
		t.Fatal(err)
	}
	r := hc.Resources
	if r.Memory != 150<<20 || r.MemorySwap != 200<<20 || r.MemoryReservation != 50<<20 || r.CPUShares != 512 || r.NanoCPUs != 1e9 ||
		r.CpusetCpus != "1" || r.BlkioWeight != 300 || *r.PidsLimit != -1 || hc.ShmSize != 7 || hc.RestartPolicy.Name != "no" {
		t.Errorf("%+v", hc)
	}
	if old.Memory != 100<<20 || *old.PidsLimit != 5 {
		t.Errorf("the old settings changed: %+v", old)
	}
	limits, err := UpdatedResources(Input{Home: VM, HostConfig: hc})
	if err != nil {
		t.Fatal(err)
	}
	if *limits.Memory.Limit != 150<<20 || *limits.Memory.Swap != 200<<20 || *limits.CPU.Quota != 100_000 || *limits.Pids.Limit != -1 || *limits.BlockIO.Weight != 300 {
		t.Errorf("%+v", limits)
	}
}

func TestUpdateRefuses(t *testing.T) {
	t.Parallel()
	ten := int64(10)
	limited := container.Resources{Memory: 100 << 20, MemorySwap: 200 << 20}
	for _, test := range []struct {
		name   string
		old    container.HostConfig
		change container.UpdateConfig
		is     func(error) bool
		text   string
	}{
		{"memory above swap", container.HostConfig{Resources: limited}, change(container.Resources{Memory: 300 << 20}), errdefs.IsConflict, "Memory limit should be smaller than already set memoryswap limit"},
		{"swap below memory", container.HostConfig{Resources: limited}, change(container.Resources{MemorySwap: 50 << 20}), errdefs.IsInvalidArgument, "Minimum memoryswap limit"},
		{"swap without memory", container.HostConfig{}, change(container.Resources{MemorySwap: 50 << 20}), errdefs.IsInvalidArgument, "always set the Memory limit"},
		{"too little memory", container.HostConfig{}, change(container.Resources{Memory: 1 << 20}), errdefs.IsInvalidArgument, "Minimum memory limit allowed is 6MB"},
		{"memory below reservation", container.HostConfig{Resources: container.Resources{MemoryReservation: 90 << 20}}, change(container.Resources{Memory: 50 << 20}), errdefs.IsInvalidArgument, "memory reservation limit"},
		{"cpus with a quota", container.HostConfig{Resources: container.Resources{CPUQuota: 50_000}}, change(container.Resources{NanoCPUs: 1e9}), errdefs.IsConflict, "Nano CPUs cannot be updated as CPU Quota"},
		{"a quota with cpus", container.HostConfig{Resources: container.Resources{NanoCPUs: 1e9}}, change(container.Resources{CPUQuota: 50_000}), errdefs.IsConflict, "CPU Quota cannot be updated"},
		{"a period with cpus", container.HostConfig{Resources: container.Resources{NanoCPUs: 1e9}}, change(container.Resources{CPUPeriod: 50_000}), errdefs.IsConflict, "CPU Period cannot be updated"},
		{"weight", container.HostConfig{}, change(container.Resources{BlkioWeight: 5}), errdefs.IsInvalidArgument, "from 10 to 1000"},
		{"ulimit", container.HostConfig{}, change(container.Resources{Ulimits: []*container.Ulimit{{Name: "core"}}}), errdefs.IsNotImplemented, "--ulimit cannot be changed"},
		{"device", container.HostConfig{}, change(container.Resources{BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{{Path: "/dev/x"}}}), errdefs.IsNotImplemented, "make a new one"},
		{"swappiness", container.HostConfig{}, change(container.Resources{MemorySwappiness: &ten}), errdefs.IsNotImplemented, "--memory-swappiness"},
		{"restart policy", container.HostConfig{}, container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "always"}}, errdefs.IsNotImplemented, "--restart"},
		{"unknown policy", container.HostConfig{}, container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "no", MaximumRetryCount: 2}}, errdefs.IsInvalidArgument, "restart"},
	} {
		_, err := Update(Process, &test.old, test.change)
		if err == nil || !test.is(err) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func change(r container.Resources) container.UpdateConfig {
	return container.UpdateConfig{Resources: r}
}
