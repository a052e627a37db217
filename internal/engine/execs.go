package engine

import (
	"context"
	"strconv"
	"strings"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/term"

	"bothy/internal/spec"
)

// resizeTimeout bounds the wait of a resize for the start; docker's.
const resizeTimeout = 10 * time.Second

// Execs answers for the further processes of containers. An id is a full one.
type Execs struct{ containers *Containers }

// CreateExec prepares a process in a container that runs; StartExec starts it.
// It returns its ID.
func (x *Execs) CreateExec(_ context.Context, ref string, req container.ExecCreateRequest) (string, error) {
	c, err := x.containers.index.find(ref)
	if err != nil {
		return "", err
	}
	keys, err := detachKeys(req.DetachKeys)
	if err != nil {
		return "", err
	}
	if len(req.Cmd) == 0 {
		return "", failure(errdefs.ErrInvalidArgument, "No exec command specified")
	}
	if err := c.check(opExec); err != nil {
		return "", err
	}
	rec, _ := c.snapshot()
	if req.User == "" {
		req.User = rec.Config.User
	}
	if rec.Home == spec.Process { // whoever prepares a process is about to start it
		x.containers.starter.shims.Stir()
	}
	e := newExecution(newID(), c, req, keys)
	x.containers.execs.add(e)
	x.emit(e, events.ActionExecCreate+": "+e.action())
	return e.id, nil
}

// detachKeys reads what a client wants to type to detach; "": docker's default.
func detachKeys(text string) ([]byte, error) {
	if text == "" {
		return defaultDetachKeys, nil
	}
	keys, err := term.ToBytes(text)
	if err != nil {
		return nil, failure(errdefs.ErrInvalidArgument, "Invalid detach keys (%s) provided", text)
	}
	return keys, nil
}

// action is the command as docker's events have it.
func (e *execution) action() events.Action { return events.Action(strings.Join(e.req.Cmd, " ")) }

func (x *Execs) emit(e *execution, action events.Action, more ...string) {
	rec, _ := e.c.snapshot()
	x.containers.emit(action, rec, append(more, "execID", e.id)...)
}

// InspectExec tells of an execution.
func (x *Execs) InspectExec(_ context.Context, id string) (*container.ExecInspectResponse, error) {
	e, err := x.containers.execs.find(id)
	if err != nil {
		return nil, err
	}
	return e.inspect(), nil
}

// ResizeExec sets the size of an execution's terminal, in characters. It waits
// for a start that is under way, or about to be.
func (x *Execs) ResizeExec(ctx context.Context, id string, height, width uint16) error {
	e, err := x.containers.execs.find(id)
	if err != nil {
		return err
	}
	late := time.NewTimer(resizeTimeout)
	defer late.Stop()
	select {
	case <-e.started:
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return failure(errdefs.ErrConflict, "exec %s was not started", id)
	}
	if e.view().state != execRunning {
		return failure(errdefs.ErrConflict, "exec %s is not running", id)
	}
	t, err := e.c.shim(opResize)
	if err != nil {
		return err
	}
	if _, err := t.ResizePty(ctx, &taskAPI.ResizePtyRequest{ID: e.c.id, ExecID: id, Height: uint32(height), Width: uint32(width)}); err != nil {
		return err
	}
	x.emit(e, events.ActionResize, "height", strconv.Itoa(int(height)), "width", strconv.Itoa(int(width)))
	return nil
}
