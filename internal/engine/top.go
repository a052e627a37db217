package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"bothy/internal/ps"
	"bothy/internal/shimapi"
)

// lookTimeout bounds a question about what a container does now.
const lookTimeout = 20 * time.Second

// Usage answers what containers do now, and what they use.
type Usage struct{ containers *Containers }

// ContainerTop lists the container's processes in the columns that ps's options
// ask for. PIDs are those of the kernel that they run on.
func (u *Usage) ContainerTop(ctx context.Context, ref, options string) (*container.TopResponse, error) {
	format, err := ps.ParseFormat(options)
	if err != nil {
		return nil, err
	}
	c, err := u.containers.index.find(ref)
	if err != nil {
		return nil, err
	}
	t, err := c.shim(opTop)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	resp, err := t.Pids(ctx, &taskAPI.PidsRequest{ID: c.id})
	if err != nil {
		return nil, lookError(c, "listing the processes of", err)
	}
	rec, _ := c.snapshot()
	u.containers.emit(events.ActionTop, rec)
	titles, lines := format.Table(processesOf(resp), time.Now())
	return &container.TopResponse{Titles: titles, Processes: lines}, nil
}

// processesOf reads what a shim tells of processes. What it does not tell, or
// in words that are not known here, is shown as unknown.
func processesOf(resp *taskAPI.PidsResponse) []ps.Process {
	var all []ps.Process
	for _, info := range resp.GetProcesses() {
		p := ps.Process{Pid: int(info.GetPid())}
		var told shimapi.Process
		if info.GetInfo().GetTypeUrl() == shimapi.ProcessURL && json.Unmarshal(info.Info.Value, &told) == nil && told.Version == shimapi.Version {
			p.Info = &told
		}
		all = append(all, p)
	}
	return all
}

// lookError is the error of a question about a container that runs. One that
// has just ended does not run.
func lookError(c *ctr, doing string, err error) error {
	if hasEnded(err) {
		return failure(errdefs.ErrConflict, "container %s is not running", c.id)
	}
	return fmt.Errorf("%s container %s: %w", doing, shortID(c.id), err)
}

// hasEnded says that a shim's error is that of a container which has ended.
func hasEnded(err error) bool {
	return errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) || errdefs.IsUnavailable(err)
}
