package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/sys/signal"
)

const (
	// defaultStopTimeout is docker's.
	defaultStopTimeout = 10 * time.Second
	// killTimeout bounds the wait for a process that was sent SIGKILL.
	killTimeout = 10 * time.Second
)

// StopContainer sends name ("": the container's own stop signal), waits timeout
// seconds (nil: the container's own, negative: for ever), then kills. Listing
// and inspecting go on meanwhile, and another stop or kill may overtake it.
func (s *Containers) StopContainer(ctx context.Context, ref, name string, timeout *int) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	ctx, done := s.unhurried(ctx)
	defer done()
	if err := c.settle(ctx); err != nil {
		return err
	}
	if err := c.check(opStop); err != nil {
		return err
	}
	return s.stop(ctx, c, name, timeout)
}

// unhurried gives a context that does not end when the client goes away, but
// when the engine is closed: what a stop has begun it finishes.
func (s *Containers) unhurried(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

func (s *Containers) stop(ctx context.Context, c *ctr, name string, timeout *int) error {
	rec, _ := c.snapshot()
	if name == "" {
		name = rec.Config.StopSignal
	}
	if name == "" {
		name = "SIGTERM"
	}
	sig, err := parseSignal(name)
	if err != nil {
		return err
	}
	ended := c.outputEnd()
	limit := patience(rec, timeout)
	err = s.send(ctx, c, sig, opStop)
	switch {
	case errdefs.IsDeadlineExceeded(err): // a guest that hangs
		limit = 0
	case err != nil && !errdefs.IsConflict(err) && !errdefs.IsNotModified(err):
		return err
	}
	if !waitEnd(ctx, ended, limit) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.kill9(ctx, c, ended); err != nil {
			return fmt.Errorf("stopping container %s: %w", rec.Name, err)
		}
	}
	s.emit(events.ActionStop, rec)
	return nil
}

// patience is how long a stop waits; negative: for ever.
func patience(rec record, seconds *int) time.Duration {
	if seconds == nil {
		seconds = rec.Config.StopTimeout
	}
	if seconds == nil {
		return defaultStopTimeout
	}
	return time.Duration(*seconds) * time.Second
}

// waitEnd waits for a run's end: at most limit, or for ever if that is negative.
func waitEnd(ctx context.Context, ended <-chan struct{}, limit time.Duration) bool {
	var late <-chan time.Time
	if limit >= 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-ended:
		return true
	case <-late:
	case <-ctx.Done():
	}
	return false
}

// kill9 kills the container and waits for its end. It is no client's request:
// a container that has ended meanwhile is what was wanted. Where the kill does
// not get through, a guest that hangs, its shim is killed and the machine with
// it.
func (s *Containers) kill9(ctx context.Context, c *ctr, ended <-chan struct{}) error {
	bounded, cancel := context.WithTimeout(ctx, killTimeout)
	err := s.send(bounded, c, syscall.SIGKILL, opKill)
	cancel()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil || errdefs.IsConflict(err) || errdefs.IsNotFound(err) {
		if waitEnd(ctx, ended, killTimeout) {
			return nil
		}
	}
	if t, err := c.shim(opKill); err == nil && t.Pid() > 1 {
		s.log.Warn("killing the shim of a container that does not end", "container", c.id, "pid", t.Pid())
		_ = syscall.Kill(t.Pid(), syscall.SIGKILL)
	}
	if waitEnd(ctx, ended, buryTimeout) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("it did not end within %s of SIGKILL: %w", killTimeout, errdefs.ErrUnavailable)
}

// KillContainer sends a signal, by name or number; "" is SIGKILL, and that
// waits for the end.
func (s *Containers) KillContainer(ctx context.Context, ref, name string) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	if name == "" {
		name = "SIGKILL"
	}
	sig, err := parseSignal(name)
	if err != nil {
		return err
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	ended := c.outputEnd()
	if err := s.send(ctx, c, sig, opKill); err != nil {
		rec, _ := c.snapshot()
		return kindError{fmt.Errorf("cannot kill container: %s: %w", rec.Name, err), err}
	}
	if sig == syscall.SIGKILL {
		waitEnd(ctx, ended, killTimeout)
	}
	return nil
}

// send gives the container's first process a signal.
func (s *Containers) send(ctx context.Context, c *ctr, sig syscall.Signal, op operation) error {
	t, err := c.shim(op)
	if err != nil {
		return err
	}
	rec, _ := c.snapshot()
	_, err = t.Kill(ctx, &taskAPI.KillRequest{ID: c.id, Signal: uint32(sig)})
	if err != nil && (errdefs.IsNotFound(err) || errdefs.IsUnavailable(err)) {
		return failure(errdefs.ErrConflict, "container %s is not running", c.id)
	}
	if err != nil {
		return fmt.Errorf("sending signal %d to container %s: %w", int(sig), shortID(c.id), err)
	}
	s.emit(events.ActionKill, rec, "signal", strconv.Itoa(int(sig)))
	s.thawAfter(ctx, c, t, sig)
	return nil
}

func parseSignal(name string) (syscall.Signal, error) {
	sig, err := signal.ParseSignal(name)
	if err != nil || sig <= 0 {
		return 0, failure(errdefs.ErrInvalidArgument, "Invalid signal: %s", name)
	}
	return sig, nil
}

// RestartContainer stops the container if it runs, and starts it.
func (s *Containers) RestartContainer(ctx context.Context, ref, name string, timeout *int) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	ctx, done := s.unhurried(ctx)
	defer done()
	if err := c.settle(ctx); err != nil {
		return err
	}
	rec, st := c.snapshot()
	if running(st.State) {
		// A container that is removed when it ends is not, by a restart.
		c.mu.Lock()
		c.restarting++
		c.mu.Unlock()
		defer func() {
			c.mu.Lock()
			c.restarting--
			c.mu.Unlock()
		}()
		if err := s.stop(ctx, c, name, timeout); err != nil {
			return err
		}
	}
	if err := s.start(ctx, c); err != nil && !errors.Is(err, errdefs.ErrNotModified) {
		return err
	}
	s.emit(events.ActionRestart, rec)
	return nil
}
