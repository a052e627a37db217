package engine

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/emptypb"

	"bothy/internal/engineapi"
	"bothy/internal/shimapi"
)

// brokenAt is the limit at which Update's connection breaks.
const brokenAt = 512 << 20

// Update refuses limits of more than a gigabyte.
func (t fakeTask) Update(_ context.Context, req *taskAPI.UpdateTaskRequest) (*emptypb.Empty, error) {
	var limits specs.LinuxResources
	if err := json.Unmarshal(req.Resources.Value, &limits); err != nil {
		return nil, err
	}
	if *limits.Memory.Limit > 1<<30 {
		return nil, errors.New("too much")
	}
	if *limits.Memory.Limit == brokenAt {
		return nil, errdefs.ErrUnavailable
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.updated = req
	return &emptypb.Empty{}, nil
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{Resources: container.Resources{Memory: 100 << 20}})
	ctx := t.Context()
	memory := func(n int64) container.UpdateConfig {
		return container.UpdateConfig{Resources: container.Resources{Memory: n, MemorySwap: -1}}
	}
	held := func() (memory, swap int64) {
		resp, err := r.InspectContainer(ctx, "web", false)
		must(t, err)
		return resp.HostConfig.Memory, resp.HostConfig.MemorySwap
	}
	if _, swap := held(); swap != 200<<20 {
		t.Errorf("swap limit %d after creation", swap)
	}
	_, live, err := r.Subscribe(ctx, time.Time{}, time.Time{}, engineapi.Filters{"event": {"update": true}})
	must(t, err)
	if _, err := r.UpdateContainer(ctx, "web", memory(200<<20)); err != nil {
		t.Fatal(err)
	}
	if m := <-live; m.Actor.Attributes["name"] != "web" {
		t.Errorf("event %+v", m)
	}
	shim := r.start("web")
	if got, _ := held(); got != 200<<20 || shim.updated != nil {
		t.Errorf("%d of a container that did not run", got)
	}
	if _, err := r.UpdateContainer(ctx, "web", memory(300<<20)); err != nil {
		t.Fatal(err)
	}
	if got := string(shim.updated.Resources.Value); !strings.Contains(got, `"limit":314572800`) {
		t.Errorf("the shim was told %s", got)
	}
	_, err = r.UpdateContainer(ctx, "web", memory(2<<30))
	if err == nil || !strings.Contains(err.Error(), "Cannot update container ") || !strings.HasSuffix(err.Error(), "too much") {
		t.Errorf("one that its shim refuses: %v", err)
	}
	if _, err = r.UpdateContainer(ctx, "web", memory(brokenAt)); !errdefs.IsUnavailable(err) {
		t.Errorf("a connection that breaks: %v", err)
	}
	if got, _ := held(); got != 300<<20 {
		t.Errorf("after changes that failed: %d", got)
	}
	_, err = r.UpdateContainer(ctx, "web", container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "always"}})
	if !errdefs.IsNotImplemented(err) {
		t.Errorf("a restart policy: %v", err)
	}
	r.restart()
	if got, _ := held(); got != 300<<20 {
		t.Errorf("in a new engine: %d", got)
	}
}

func TestUpdateAsksForALargerMachine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	shim := r.start("web")
	c, err := r.index.find("web")
	must(t, err)
	c.note(func(st *status) { st.Machine = &machineStatus{Memory: 600 << 20, CPUs: 1} })
	for _, step := range []struct {
		limit int64
		asks  bool
	}{{100 << 20, false}, {800 << 20, true}, {200 << 20, false}} {
		if _, err := r.UpdateContainer(t.Context(), "web", container.UpdateConfig{Resources: container.Resources{Memory: step.limit, MemorySwap: -1}}); err != nil {
			t.Fatal(err)
		}
		if _, asks := shim.updated.Annotations[shimapi.MachineMemory]; asks != step.asks {
			t.Errorf("%d: %v", step.limit, shim.updated.Annotations)
		}
	}
	machine, err := r.ContainerMachine(t.Context(), "web")
	if err != nil || machine.Memory < 800<<20 {
		t.Errorf("%+v, %v", machine, err)
	}
}
