package engine

import (
	"context"
	"fmt"
	"syscall"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
)

// freezeTimeout bounds pausing a container and letting it go on.
const freezeTimeout = 30 * time.Second

// PauseContainer freezes all of the container's processes.
func (s *Containers) PauseContainer(ctx context.Context, ref string) error {
	return s.freeze(ctx, ref, opPause, events.ActionPause, func(ctx context.Context, t task, id string) error {
		_, err := t.Pause(ctx, &taskAPI.PauseRequest{ID: id})
		return err
	})
}

// UnpauseContainer lets a paused container go on.
func (s *Containers) UnpauseContainer(ctx context.Context, ref string) error {
	return s.freeze(ctx, ref, opUnpause, events.ActionUnPause, resumeTask)
}

func resumeTask(ctx context.Context, t task, id string) error {
	_, err := t.Resume(ctx, &taskAPI.ResumeRequest{ID: id})
	return err
}

// freeze does op, a pause or its end. What it has begun it finishes, whether
// the client waits or not.
func (s *Containers) freeze(ctx context.Context, ref string, op operation, action events.Action, call func(context.Context, task, string) error) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	if err := c.acquire(ctx); err != nil { // its end is handled afterwards
		return err
	}
	defer c.release()
	t, err := c.shim(op)
	if err != nil {
		return err
	}
	ctx, done := s.unhurried(ctx)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	rec, _ := c.snapshot()
	if err := call(ctx, t, c.id); err != nil {
		if hasEnded(err) {
			return failure(errdefs.ErrConflict, "container %s is not running", c.id)
		}
		return fmt.Errorf("cannot %s container %s: %w", op, rec.Name, err)
	}
	if err := c.move(op, nil); err != nil {
		return err
	}
	s.emit(action, rec)
	return nil
}

// thawAfter lets a paused container go on that was sent a signal which is to
// reach it: docker's own rule, that of the stop signal or any if it has none.
// It may have ended by the signal already.
func (s *Containers) thawAfter(ctx context.Context, c *ctr, t task, sig syscall.Signal) {
	rec, st := c.snapshot()
	if st.State != container.StatePaused {
		return
	}
	if name := rec.Config.StopSignal; name != "" && sig != syscall.SIGKILL {
		if stop, err := parseSignal(name); err != nil || stop != sig {
			return
		}
	}
	if err := resumeTask(ctx, t, c.id); err != nil {
		s.log.Debug("a paused container that was sent a signal does not go on", "container", c.id, "error", err)
		return
	}
	if err := c.move(opUnpause, nil); err == nil {
		s.emit(events.ActionUnPause, rec)
	}
}
