package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
)

const (
	// shutdownTimeout bounds a shim's orderly end.
	shutdownTimeout = 10 * time.Second
	// busyTimeout bounds the wait for a shim that makes a container still, and
	// busyPause lies between two questions whether it does.
	busyTimeout = time.Second
	busyPause   = 20 * time.Millisecond
	// buryTimeout bounds all of bury.
	buryTimeout = 30 * time.Second
)

// bury ends a shim and removes what it leaves: its container if that still
// runs, mounts, cgroup, bundle. It goes on if ctx ends, may be called again,
// and takes a nil t for a shim that nobody is connected to.
func (s *starter) bury(ctx context.Context, c *ctr, t task) {
	s.buryRun(ctx, c, t, false)
}

// buryRun is bury. With remove, the container has ended and what it has written
// is not needed any more, which spares a machine from writing it to its disk.
func (s *starter) buryRun(ctx context.Context, c *ctr, t task, remove bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), buryTimeout)
	defer cancel()
	if t == nil {
		if _, err := os.Stat(s.bundle(c.id)); errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	if t == nil || !s.shutDown(ctx, c, t, remove) {
		if err := s.shims.Cleanup(ctx, s.shimOptions(c)); err != nil {
			s.log.Error("cleaning up after a shim", "container", c.id, "error", err)
		}
	}
	if err := os.RemoveAll(s.bundle(c.id)); err != nil {
		s.log.Error("removing a bundle", "container", c.id, "error", err)
	}
}

// shutDown ends a shim in good order, and by force if that fails. It reports
// whether the shim has cleaned up after itself.
func (s *starter) shutDown(ctx context.Context, c *ctr, t task, remove bool) bool {
	defer t.Close()
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	if remove {
		if _, err := t.Shutdown(ctx, &taskAPI.ShutdownRequest{ID: c.id, Now: true}); err == nil && s.gone(ctx, c, t) {
			return true
		}
	}
	clean, err := deleteTask(ctx, c, t)
	if err != nil {
		s.log.Warn("a shim does not end in good order", "container", c.id, "error", err)
		s.killShim(c, t)
		return false
	}
	return s.gone(ctx, c, t) && clean
}

// deleteTask ends a shim's container and tells the shim to end. One that is
// busy making the container for a bothyd that is no more is asked again, for a
// while. It reports whether there was a container to be deleted.
func deleteTask(ctx context.Context, c *ctr, t task) (clean bool, _ error) {
	for end := time.Now().Add(busyTimeout); ; {
		_, err := t.Delete(ctx, &taskAPI.DeleteRequest{ID: c.id})
		if err != nil && !errdefs.IsNotFound(err) { // it has not ended
			_, _ = t.Kill(ctx, &taskAPI.KillRequest{ID: c.id, Signal: uint32(syscall.SIGKILL), All: true})
			if _, werr := t.Wait(ctx, &taskAPI.WaitRequest{ID: c.id}); werr == nil {
				_, err = t.Delete(ctx, &taskAPI.DeleteRequest{ID: c.id})
			}
		}
		_, serr := t.Shutdown(ctx, &taskAPI.ShutdownRequest{ID: c.id})
		if serr == nil {
			return err == nil, nil
		}
		if !errdefs.IsFailedPrecondition(serr) || time.Now().After(end) {
			return false, errors.Join(err, serr)
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// gone waits for the end of a shim that was told to end, and kills one that
// does not. It reports whether the shim ended by itself.
func (s *starter) gone(ctx context.Context, c *ctr, t task) bool {
	select {
	case <-t.Done():
		return true
	case <-ctx.Done():
	}
	s.killShim(c, t)
	return false
}

// killShim ends a shim by force, and waits for that.
func (s *starter) killShim(c *ctr, t task) {
	select {
	case <-t.Done():
		return
	default:
	}
	pid := t.Pid()
	if pid <= 1 {
		return
	}
	s.log.Warn("killing a shim that does not end", "container", c.id, "pid", pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	late := time.NewTimer(shutdownTimeout)
	defer late.Stop()
	select {
	case <-t.Done():
	case <-late.C:
	}
}
