package engine

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// waiter is one client that waits for a container. Its channel has room for
// the one answer that it gets.
type waiter struct {
	condition container.WaitCondition
	answer    chan container.WaitResponse
}

// WaitContainer registers the wait before it returns. The channel gets exactly
// one answer and is then closed; it is closed without one if ctx ends.
func (s *Containers) WaitContainer(ctx context.Context, ref string, condition container.WaitCondition) (<-chan container.WaitResponse, error) {
	switch condition {
	case "":
		condition = container.WaitConditionNotRunning
	case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return nil, failure(errdefs.ErrInvalidArgument, "invalid condition: %q: it is one of not-running, next-exit, removed", condition)
	}
	c, err := s.index.find(ref)
	if err != nil {
		return nil, err
	}
	if condition == container.WaitConditionNotRunning {
		if err := c.settle(ctx); err != nil {
			return nil, err
		}
	}
	w, done := c.await(condition)
	out := make(chan container.WaitResponse, 1)
	if done {
		out <- <-w.answer
		close(out)
		return out, nil
	}
	go func() {
		defer close(out)
		select {
		case r := <-w.answer:
			out <- r
		case <-ctx.Done():
			c.forget(w)
		}
	}()
	return out, nil
}

// await registers a waiter; done says that it has its answer already.
func (c *ctr) await(condition container.WaitCondition) (w waiter, done bool) {
	w = waiter{condition: condition, answer: make(chan container.WaitResponse, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := !running(c.st.State) && c.st.State != container.StateRestarting
	if c.gone || condition == container.WaitConditionNotRunning && idle {
		w.answer <- c.outcomeLocked()
		return w, true
	}
	c.waiters = append(c.waiters, w)
	return w, false
}

func (c *ctr) forget(w waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.waiters {
		if c.waiters[i].answer == w.answer {
			c.waiters = append(c.waiters[:i:i], c.waiters[i+1:]...)
			return
		}
	}
}

// wake answers the waiters: all of them when the container has been removed,
// else those that wait for its end. It needs mu held.
func (c *ctr) wakeLocked(removed bool) {
	var rest []waiter
	for _, w := range c.waiters {
		if !removed && w.condition == container.WaitConditionRemoved {
			rest = append(rest, w)
			continue
		}
		w.answer <- c.outcomeLocked()
	}
	c.waiters = rest
}

// outcomeLocked needs mu held.
func (c *ctr) outcomeLocked() container.WaitResponse {
	r := container.WaitResponse{StatusCode: int64(c.st.ExitCode)}
	if c.st.Error != "" {
		r.Error = &container.WaitExitError{Message: c.st.Error}
	}
	return r
}
