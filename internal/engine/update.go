package engine

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"google.golang.org/protobuf/types/known/anypb"

	"bothy/internal/shimapi"
	"bothy/internal/spec"
)

// updateTimeout bounds a change of limits: a machine may have to be given memory
// first.
const updateTimeout = 60 * time.Second

// resourcesURL is the type URL of the resources in a task's Update.
const resourcesURL = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"

// UpdateContainer changes a container's limits: at once if it runs, and for its
// next starts. If that fails, the old ones hold.
func (s *Containers) UpdateContainer(ctx context.Context, ref string, change container.UpdateConfig) (container.UpdateResponse, error) {
	resp := container.UpdateResponse{Warnings: []string{}}
	c, err := s.index.find(ref)
	if err != nil {
		return resp, err
	}
	if err := c.acquire(ctx); err != nil {
		return resp, err
	}
	defer c.release()
	if err := c.check(opUpdate); err != nil {
		return resp, err
	}
	if err := s.update(ctx, c, change); err != nil {
		return resp, failure(errdefs.Resolve(err), "Cannot update container %s: %w", c.id, err)
	}
	rec, _ := c.snapshot()
	s.emit(events.ActionUpdate, rec)
	return resp, nil
}

// update is UpdateContainer for a container that is acquired.
func (s *Containers) update(ctx context.Context, c *ctr, change container.UpdateConfig) error {
	old, st := c.snapshot()
	rec := old
	var err error
	if rec.HostConfig, err = spec.Update(rec.Home, rec.HostConfig, change); err != nil {
		return err
	}
	if err := spec.FitCPUs(&rec.HostConfig.Resources, s.opts.cpus(rec.Home)); err != nil {
		return err
	}
	if err := s.files.saveRecord(rec); err != nil {
		return err
	}
	if running(st.State) {
		if err := s.updateRunning(ctx, c, rec); err != nil {
			if undo := s.files.saveRecord(old); undo != nil {
				s.log.Error("limits that could not be changed hold from the next start on", "container", c.id, "error", undo)
			}
			return err
		}
	}
	c.mu.Lock()
	c.rec = rec
	c.mu.Unlock()
	return nil
}

// updateRunning makes the limits in rec hold for a container that runs. What it
// has begun it finishes, whether the client waits or not.
func (s *Containers) updateRunning(ctx context.Context, c *ctr, rec record) error {
	t, err := c.shim(opUpdate)
	if err != nil {
		return err
	}
	limits, err := spec.UpdatedResources(spec.Input{
		Home: rec.Home, HostConfig: rec.HostConfig,
		CgroupV1: s.starter.host.cgroupV1, NoSwapLimit: rec.Home == spec.Process && s.starter.host.noSwapLimit,
	})
	if err != nil {
		return err
	}
	data, err := json.Marshal(limits)
	if err != nil {
		return err
	}
	req := &taskAPI.UpdateTaskRequest{ID: c.id, Resources: &anypb.Any{TypeUrl: resourcesURL, Value: data}}
	memory := s.machineMemory(c, rec)
	if memory > 0 {
		req.Annotations = map[string]string{shimapi.MachineMemory: strconv.FormatInt(memory, 10)}
	}
	ctx, done := s.unhurried(ctx)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	switch _, err := t.Update(ctx, req); {
	case errdefs.IsNotFound(err), errdefs.IsFailedPrecondition(err):
		return nil // it has ended: they are for its next start
	case err != nil: // of a connection that broke too: nobody knows what holds
		return err
	}
	if memory > 0 {
		c.note(func(st *status) { st.Machine = st.Machine.grown(memory) })
	}
	return nil
}

// machineMemory gives the size in bytes that the container's machine has to grow
// to for the limits in rec; 0: it is large enough, or there is none.
func (s *Containers) machineMemory(c *ctr, rec record) int64 {
	_, st := c.snapshot()
	if st.Machine == nil {
		return 0
	}
	memory, _ := s.starter.machines.size(rec.HostConfig.Resources)
	if memory <= st.Machine.Memory {
		return 0
	}
	return memory
}

// grown is the machine with more memory, of which it has at least that many
// bytes now.
func (m *machineStatus) grown(memory int64) *machineStatus {
	if m == nil {
		return nil
	}
	larger := *m
	larger.Memory = max(m.Memory, memory)
	return &larger
}
