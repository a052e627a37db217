package executor

import (
	"context"
	"encoding/json"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Update changes the container's limits. The request's resources are a runtime
// spec's LinuxResources; a field that they don't have stays as it is.
func (s *Service) Update(_ context.Context, r *taskapi.UpdateTaskRequest) (*emptypb.Empty, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	return empty(c.update(r.Resources.GetValue()))
}

func (c *container) update(change []byte) error {
	c.ops.Lock()
	defer c.ops.Unlock()
	if err := c.init.allow(opUpdate); err != nil {
		return err
	}
	resources, err := mergeResources(c.spec.Linux.Resources, change)
	if err != nil {
		return err
	}
	spec, linux := *c.spec, *c.spec.Linux
	linux.Resources, spec.Linux = resources, &linux
	fresh, err := containerConfig(c.id, c.bundle, &spec)
	if err != nil {
		return err
	}
	config := c.lc.Config()
	cgroup := *config.Cgroups // libcontainer goes back to the old one on an error
	cgroup.Resources, config.Cgroups = fresh.Cgroups.Resources, &cgroup
	if err := c.lc.Set(config); err != nil {
		return wrap(err, "updating container %s", c.id)
	}
	c.spec = &spec
	return nil
}

// mergeResources lays the fields of a change (JSON) over the old resources,
// which stay as they are.
func mergeResources(old *specs.LinuxResources, change []byte) (*specs.LinuxResources, error) {
	merged, update := &specs.LinuxResources{}, &specs.LinuxResources{}
	if old != nil {
		data, err := json.Marshal(old)
		if err != nil {
			return nil, wrap(err, "copying resources")
		}
		if err := json.Unmarshal(data, merged); err != nil {
			return nil, wrap(err, "copying resources")
		}
	}
	for _, into := range []any{update, merged} {
		if err := json.Unmarshal(change, into); err != nil {
			return nil, errorf(errdefs.ErrInvalidArgument, "reading the new resources: %w", err)
		}
	}
	// A limit that goes takes the limit of memory and swap with it: the kernel
	// has no swap limit without one.
	if m := update.Memory; m != nil && m.Limit != nil && *m.Limit == -1 && m.Swap == nil {
		unlimited := int64(-1)
		merged.Memory.Swap = &unlimited
	}
	return merged, nil
}
