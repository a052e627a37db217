package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	cgroupstats "github.com/containerd/cgroups/v3/cgroup2/stats"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"bothy/internal/engineapi"
	"bothy/internal/shimapi"
)

func (t fakeTask) Pids(context.Context, *taskAPI.PidsRequest) (*taskAPI.PidsResponse, error) {
	told, err := json.Marshal(shimapi.Process{Version: shimapi.Version, PPid: 1, Name: "run", Args: "run fast", EUser: "app"})
	return &taskAPI.PidsResponse{Processes: []*tasktypes.ProcessInfo{
		{Pid: 9},
		{Pid: 7, Info: &anypb.Any{TypeUrl: shimapi.ProcessURL, Value: told}},
		{Pid: 8, Info: &anypb.Any{TypeUrl: shimapi.ProcessURL, Value: []byte("no JSON")}},
	}}, err
}

// Stats uses 10 ms of a processor more at each call.
func (t fakeTask) Stats(context.Context, *taskAPI.StatsRequest) (*taskAPI.StatsResponse, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sampled++
	value, err := proto.Marshal(&cgroupstats.Metrics{
		CPU:     &cgroupstats.CPUStat{UsageUsec: 10_000 * t.sampled, NrPeriods: 3},
		Memory:  &cgroupstats.MemoryStat{Usage: 5 << 20, UsageLimit: 1 << 62, InactiveFile: 1 << 20},
		Pids:    &cgroupstats.PidsStat{Current: 2, Limit: 10},
		Io:      &cgroupstats.IOStat{Usage: []*cgroupstats.IOEntry{{Major: 8, Minor: 1, Rbytes: 100, Wbytes: 200, Rios: 1, Wios: 2}}},
		Network: []*cgroupstats.NetworkStat{{Name: "eth0", RxBytes: 11, TxBytes: 12}},
	})
	return &taskAPI.StatsResponse{Stats: &anypb.Any{Value: value}}, err
}

func TestTop(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	if _, err := r.ContainerTop(t.Context(), "web", ""); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "is not running") {
		t.Errorf("one that does not run: %v", err)
	}
	r.start("web")
	if _, err := r.ContainerTop(t.Context(), "web", "-o comm"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("without PIDs: %v", err)
	}
	got, err := r.ContainerTop(t.Context(), "web", "-o pid,user,args")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Titles, []string{"PID", "USER", "COMMAND"}) {
		t.Errorf("titles %q", got.Titles)
	}
	want := [][]string{{"7", "app", "run fast"}, {"8", "?", "?"}, {"9", "?", "?"}}
	if !slices.EqualFunc(got.Processes, want, slices.Equal) {
		t.Errorf("processes %q, want %q", got.Processes, want)
	}
}

// samples collects a container's samples until there are n, or all.
func (r *rig) samples(req engineapi.StatsRequest, n int) ([]*container.StatsResponse, error) {
	enough := errors.New("enough")
	var got []*container.StatsResponse
	err := r.ContainerStats(r.t.Context(), "web", req, func(s *container.StatsResponse) error {
		if got = append(got, s); len(got) == n {
			return enough
		}
		return nil
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return got, err
}

func TestStats(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	if _, err := r.samples(engineapi.StatsRequest{}, 2); err != nil {
		t.Errorf("one that does not run: %v", err)
	}
	r.start("web")
	got, err := r.samples(engineapi.StatsRequest{OneShot: true}, 2)
	if err != nil || len(got) != 1 || !got[0].PreRead.IsZero() {
		t.Errorf("one shot: %+v, %v", got, err)
	}
	got, err = r.samples(engineapi.StatsRequest{}, 2)
	if err != nil || len(got) != 1 {
		t.Fatalf("once: %d samples, %v", len(got), err)
	}
	s := got[0]
	if delta := s.CPUStats.CPUUsage.TotalUsage - s.PreCPUStats.CPUUsage.TotalUsage; delta != uint64(10*time.Millisecond) {
		t.Errorf("the processor was used for %d ns between the samples", delta)
	}
	if s.CPUStats.SystemUsage == 0 || s.PreCPUStats.SystemUsage == 0 || int(s.CPUStats.OnlineCPUs) != r.starter.host.cpus || s.Name != "/web" || s.PreRead.IsZero() {
		t.Errorf("a sample: %+v", s)
	}
	if s.MemoryStats.Limit != uint64(r.starter.host.memory) || s.MemoryStats.Usage != 5<<20 || s.MemoryStats.Stats["inactive_file"] != 1<<20 {
		t.Errorf("memory: %+v", s.MemoryStats)
	}
	if s.Networks["eth0"].TxBytes != 12 || s.PidsStats.Current != 2 || len(s.BlkioStats.IoServiceBytesRecursive) != 2 || s.BlkioStats.IoServiceBytesRecursive[1].Value != 200 {
		t.Errorf("network, processes, disks: %+v, %+v, %+v", s.Networks, s.PidsStats, s.BlkioStats)
	}
}

// A stream goes on when the container ends, and stops when it is removed.
func TestStatsStreamEndsWithTheContainersRemoval(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	shim := r.start("web")
	n := 0
	err := r.ContainerStats(t.Context(), "web", engineapi.StatsRequest{Stream: true}, func(s *container.StatsResponse) error {
		switch n++; n {
		case 1:
			shim.end(0)
			r.await("web", container.WaitConditionNotRunning)
		case 2:
			if !s.Read.IsZero() || s.Name != "/web" {
				t.Errorf("a sample of one that has ended: %+v", s)
			}
			return r.RemoveContainer(t.Context(), "web", false, false)
		default:
			t.Error("there are samples of one that was removed")
		}
		return nil
	})
	if err != nil && !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

// A machine's processors and memory are what its container is measured by.
func TestStatsOfAMachine(t *testing.T) {
	t.Parallel()
	resp := &container.StatsResponse{}
	host{cpus: 64, memory: 1 << 40}.measured(resp, &cgroupstats.Metrics{}, &machineStatus{CPUs: 2, Memory: 1 << 30})
	if resp.CPUStats.OnlineCPUs != 2 || resp.MemoryStats.Limit != 1<<30 || resp.CPUStats.SystemUsage == 0 || resp.Networks != nil {
		t.Errorf("got %+v", resp)
	}
}

func FuzzParseCPUTime(f *testing.F) {
	f.Add("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2\n")
	f.Add("cpu")
	f.Fuzz(func(_ *testing.T, text string) { parseCPUTime(text) })
}

func TestParseCPUTime(t *testing.T) {
	t.Parallel()
	if got := parseCPUTime("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2\n"); got != 36*uint64(10*time.Millisecond) {
		t.Errorf("got %d", got)
	}
}
