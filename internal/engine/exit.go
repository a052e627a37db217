package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/moby/moby/api/types/events"

	"bothy/internal/shimapi"
)

// redials is how often a broken connection to a shim is made anew in a row.
const redials = 3

// watch waits for the end of a running container and handles it. It returns
// without a trace when the engine is closed: the container runs on.
func (s *Containers) watch(c *ctr, t task) {
	s.watchers.Go(func() {
		t, resp, err := s.waitFor(c, t)
		if s.ctx.Err() != nil {
			return
		}
		end := exitOf(c.dir, resp, err)
		// Nobody else may hold the container for long while it runs.
		if c.acquire(s.ctx) != nil {
			return
		}
		defer c.release()
		s.ended(c, t, end)
	})
}

// waitFor waits for the container's end. A connection that breaks is no end: as
// long as the shim answers, the wait goes on, with the task that is returned.
func (s *Containers) waitFor(c *ctr, t task) (task, *taskAPI.WaitResponse, error) {
	for try := 0; ; try++ {
		resp, err := t.Wait(s.ctx, &taskAPI.WaitRequest{ID: c.id})
		if err == nil || s.ctx.Err() != nil || try == redials {
			return t, resp, err
		}
		again, dialErr := s.starter.shims.Dial(s.ctx, s.starter.bundle(c.id))
		if dialErr != nil {
			return t, nil, err
		}
		s.log.Warn("the connection to a shim broke and is made anew", "container", c.id, "error", err)
		_ = t.Close()
		t = again
		c.mu.Lock()
		c.task = t
		c.mu.Unlock()
	}
}

// exitOf gives a container's end: from its record, else from what Wait said,
// else it says that nobody knows.
func exitOf(stateDir string, resp *taskAPI.WaitResponse, waitErr error) shimapi.Exit {
	if exit, err := readExit(stateDir); err == nil {
		return exit
	}
	if waitErr == nil {
		exit := shimapi.Exit{Status: int(resp.GetExitStatus()), ExitedAt: time.Now().UTC()}
		if at := resp.GetExitedAt(); at != nil {
			exit.ExitedAt = at.AsTime()
		}
		return exit
	}
	return shimapi.Exit{Status: exitLost, ExitedAt: time.Now().UTC(), Error: "the container's shim ended without a word of how the container did"}
}

func readExit(stateDir string) (shimapi.Exit, error) {
	var exit shimapi.Exit
	data, err := os.ReadFile(filepath.Join(stateDir, shimapi.ExitFile))
	if err != nil {
		return exit, err
	}
	if err := json.Unmarshal(data, &exit); err != nil {
		return exit, fmt.Errorf("reading the exit record: %w", err)
	}
	if exit.Version != shimapi.Version {
		return exit, fmt.Errorf("reading the exit record: version %d, want %d", exit.Version, shimapi.Version)
	}
	return exit, nil
}

// ended handles the end of a run, whether it was seen or is found later. The
// caller has acquired c; t is nil if there is no shim.
//
// Clients that wait for the end are answered first, and so are those that wait
// for the removal of one that is to be removed then; what is left of the run is
// cleared away before the container can be started again.
func (s *Containers) ended(c *ctr, t task, exit shimapi.Exit) {
	known := exit.Error
	exit.Error = s.starter.withConsole(c, known)
	if t != nil && exit.Error != "" {
		// The shim may have died before its record: the last word is Cleanup's.
		s.starter.bury(s.ctx, c, t)
		if last, err := readExit(c.dir); err == nil && last.Error != known {
			exit = last
		}
		t = nil
	}
	rec, before := c.snapshot()
	c.trace.Mark(traceName, "end seen")
	defer c.endTrace()
	remove := s.recordEnd(c, exit)

	if exit.OOMKilled {
		s.emit(events.ActionOOM, rec)
	}
	lasted := exit.ExitedAt.Sub(before.StartedAt)
	s.emit(events.ActionDie, rec, "exitCode", strconv.Itoa(exit.Status), "execDuration", strconv.FormatInt(int64(max(lasted, 0)/time.Second), 10))

	if remove {
		s.removeEnded(c, t, before)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { s.starter.bury(s.ctx, c, t) })
	s.leaveNetwork(c, before)
	both.Wait()
	c.trace.Mark(traceName, "cleared")
}

// removeEnded removes a container that has just ended, and then clears away what
// is left of its run. A bothyd that does not live to do that leaves a bundle
// without a container: the next one sweeps it. The caller has acquired c.
func (s *Containers) removeEnded(c *ctr, t task, run status) {
	s.leaveNetwork(c, run)
	left, err := s.takeAway(c)
	c.trace.Mark(traceName, "removed")
	if err != nil {
		s.log.Error("removing a container that has ended", "container", c.id, "error", err)
		s.starter.buryRun(s.ctx, c, t, true)
		return
	}
	s.starter.buryRun(s.ctx, &ctr{id: c.id, dir: s.files.removedDir(c.id)}, t, true)
	c.trace.Mark(traceName, "cleared")
	s.cleaning.Go(left)
}

// endTrace ends the trace of a run. The caller has acquired c.
func (c *ctr) endTrace() {
	c.trace.Close()
	c.trace = nil
}

// recordEnd makes the container an ended one and answers those who wait for
// that. It reports whether the container is to be removed now.
func (s *Containers) recordEnd(c *ctr, exit shimapi.Exit) (remove bool) {
	err := c.move(opExit, func(st *status) {
		st.ExitCode, st.Error, st.OOMKilled = exit.Status, exit.Error, exit.OOMKilled
		st.FinishedAt, st.Pid = exit.ExitedAt, 0
		st.Endpoint, st.Machine = nil, nil
		c.endRunLocked()
	})
	if err != nil {
		s.log.Error("recording a container's end", "container", c.id, "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakeLocked(false)
	return c.rec.HostConfig.AutoRemove && c.restarting == 0
}

// endRunLocked lets go of the shim and tells those who follow the run. It needs
// mu held.
func (c *ctr) endRunLocked() {
	c.task = nil
	if c.ended != nil {
		close(c.ended)
		c.ended = nil
	}
}

// leaveNetwork takes the container of a run that has ended off its network.
func (s *Containers) leaveNetwork(c *ctr, run status) {
	s.starter.detach(s.ctx, c.id)
	if e := run.Endpoint; e != nil {
		s.starter.networkEvent(events.ActionDisconnect, c.id, e)
	}
}

// removeStaleExit takes away the record of an earlier run.
func removeStaleExit(stateDir string) error {
	err := os.Remove(filepath.Join(stateDir, shimapi.ExitFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
