package executortest

import (
	"encoding/json"
	"strings"
	"testing"

	cgroupstats "github.com/containerd/cgroups/v3/cgroup2/stats"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"bothy/internal/shimapi"
)

var resourceCases = map[string]func(*testing.T, *env){
	"MemoryLimit": testMemoryLimit,
	"OutOfMemory": testOutOfMemory,
	"PidsLimit":   testPidsLimit,
	"Stats":       testStats,
	"Update":      testUpdate,
}

func (k *task) stats() *cgroupstats.Metrics {
	k.t.Helper()
	r, err := k.Service().Stats(k.ctx, &taskapi.StatsRequest{ID: k.id})
	if err != nil {
		k.t.Fatalf("Stats: %v", err)
	}
	m := &cgroupstats.Metrics{}
	if r.Stats.GetTypeUrl() != "io.containerd.cgroups.v2.Metrics" {
		k.t.Fatalf("statistics of type %q", r.Stats.GetTypeUrl())
	}
	if err := proto.Unmarshal(r.Stats.Value, m); err != nil {
		k.t.Fatal(err)
	}
	return m
}

func memoryLimit(bytes int64) change {
	return func(s *specs.Spec) { s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &bytes, Swap: &bytes} }
}

func testMemoryLimit(t *testing.T, e *env) {
	k := e.run(memoryLimit(64<<20), script("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; cat"))
	k.out.expect(t, "67108864\n")
	if got := k.stats().Memory.UsageLimit; got != 64<<20 {
		t.Errorf("limit in the statistics %d", got)
	}
}

func testOutOfMemory(t *testing.T, e *env) {
	k := e.run(memoryLimit(32<<20), command("dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1"))
	if got := k.wait(); got != 137 {
		t.Errorf("exit status %d, want 137", got)
	}
	if got := k.stats().MemoryEvents.OomKill; got == 0 {
		t.Error("no process was counted as killed for want of memory")
	}
	calm := e.run(memoryLimit(32<<20), command("true"))
	calm.wait()
	if got := calm.stats().MemoryEvents.OomKill; got != 0 {
		t.Errorf("%d processes counted where none was killed", got)
	}
}

func testPidsLimit(t *testing.T, e *env) {
	limit := int64(5)
	k := e.run(script("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all"), func(s *specs.Spec) {
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &limit}
	})
	k.wait()
	if out, err := k.out.all(t), k.err.all(t); strings.Contains(out, "all") || !strings.Contains(err, "can't fork") {
		t.Errorf("eight processes under a limit of five: stdout %q, stderr %q", out, err)
	}
}

func testStats(t *testing.T, e *env) {
	k := e.run(script("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; cat"))
	k.out.expect(t, "ready")
	m := k.stats()
	if m.CPU.GetUsageUsec() == 0 || m.Memory.GetUsage() == 0 || m.Pids.GetCurrent() == 0 {
		t.Errorf("statistics of a running container: %v", m)
	}
	pids, err := k.Service().Pids(k.ctx, &taskapi.PidsRequest{ID: k.id})
	if err != nil || len(pids.Processes) != int(m.Pids.Current) {
		t.Errorf("Pids: %v, %v; statistics say %d", pids, err, m.Pids.Current)
	}
	for _, info := range pids.GetProcesses() {
		var p shimapi.Process
		if err := json.Unmarshal(info.GetInfo().GetValue(), &p); err != nil || info.Info.TypeUrl != shimapi.ProcessURL {
			t.Errorf("process %d is described as %q: %v", info.Pid, info.Info, err)
			continue
		}
		if p.Version != shimapi.Version || p.Name == "" || p.State == "" || p.EUser == "" || p.Threads == 0 {
			t.Errorf("process %d: %+v", info.Pid, p)
		}
	}
}

func testUpdate(t *testing.T, e *env) {
	pids := int64(100)
	k := e.run(memoryLimit(64<<20), command("cat"), func(s *specs.Spec) {
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids}
	})
	bytes := int64(96 << 20)
	change, err := json.Marshal(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &bytes, Swap: &bytes}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Service().Update(k.ctx, &taskapi.UpdateTaskRequest{ID: k.id, Resources: &anypb.Any{Value: change}}); err != nil {
		t.Fatal("Update:", err)
	}
	m := k.stats()
	if m.Memory.UsageLimit != 96<<20 || m.Pids.Limit != 100 {
		t.Errorf("after the update: memory %d, pids %d", m.Memory.UsageLimit, m.Pids.Limit)
	}
	if got := k.exec("after", shell("echo still")).wait(); got != 0 {
		t.Errorf("exec after an update: exit status %d", got)
	}
}
