package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/moby/moby/api/types/container"

	"bothy/internal/network"
	"bothy/internal/shimapi"
)

// findTimeout bounds the search for one container's shim.
const findTimeout = 10 * time.Second

// restore takes up the containers on disk where the last bothyd left them. What
// runs is found by its shim, whatever the record says; what has ended meanwhile
// gets its end; what was half-started is cleared away.
func (s *Containers) restore(ctx context.Context) error {
	all, err := s.files.load()
	if err != nil {
		return err
	}
	for _, one := range all {
		if err := s.index.reserve(one.rec.Name, one.rec.ID); err != nil {
			s.log.Error("two containers have one name: the second is reached by its ID", "name", one.rec.Name, "container", one.rec.ID)
		}
		s.index.add(newCtr(s.files, one.rec, one.st))
	}
	s.sweepBundles()
	var each sync.WaitGroup
	for _, c := range s.index.all() {
		each.Go(func() { s.restoreOne(ctx, c) })
	}
	each.Wait()
	return s.starter.networks.Restore(ctx, s.endpoints())
}

// endpoints are those of the containers that run.
func (s *Containers) endpoints() []network.InUse {
	var all []network.InUse
	for _, c := range s.index.all() {
		if _, st := c.snapshot(); running(st.State) && st.Endpoint != nil {
			all = append(all, st.Endpoint.inUse(c.id))
		}
	}
	return all
}

// restoreOne finds out what has become of a container.
func (s *Containers) restoreOne(ctx context.Context, c *ctr) {
	if c.acquire(ctx) != nil {
		return
	}
	defer c.release()
	rec, st := c.snapshot()
	if st.State == container.StateRemoving || st.State == container.StateDead {
		c.note(func(st *status) { st.State = container.StateDead })
		s.finishRemoval(c, rec)
		return
	}
	_, err := os.Stat(s.starter.bundle(c.id))
	hasBundle := err == nil
	if hasBundle && s.rejoin(ctx, c) {
		return
	}
	if !running(st.State) && st.State != container.StateRestarting {
		if hasBundle { // a start that bothyd did not live to finish
			s.starter.bury(ctx, c, nil)
		}
		if rec.HostConfig.AutoRemove { // one that never ran too, as docker does
			s.finishRemoval(c, rec)
		}
		return
	}
	if hasBundle {
		s.starter.bury(ctx, c, nil)
	}
	s.log.Info("a container ended while bothyd was away", "container", rec.Name)
	s.ended(c, nil, lostExit(c.dir, st, hasBundle))
}

// lostExit gives the end of a run that nobody waited for. After a power cut,
// which takes the bundle with it, the record of an earlier run may be back; else
// it is that of the latest run, whatever the clock has done meanwhile.
func lostExit(stateDir string, st status, hasBundle bool) shimapi.Exit {
	if exit, err := readExit(stateDir); err == nil && (hasBundle || !exit.ExitedAt.Before(st.StartedAt)) {
		return exit
	}
	return shimapi.Exit{Status: exitLost, ExitedAt: time.Now().UTC(), Error: "the container ended with the machine, or with its shim, while bothyd was away"}
}

func (s *Containers) finishRemoval(c *ctr, rec record) {
	if err := s.remove(c); err != nil {
		s.log.Error("removing a container", "container", rec.Name, "error", err)
	}
}

// rejoin connects to a container's shim and reports whether the container runs,
// or has ended in the shim's sight; it then takes it up.
func (s *Containers) rejoin(ctx context.Context, c *ctr) bool {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	t, err := s.starter.shims.Dial(ctx, s.starter.bundle(c.id))
	if err != nil {
		return false
	}
	state, err := t.State(ctx, &taskAPI.StateRequest{ID: c.id})
	if err != nil || !hasRun(state.GetStatus()) || c.endIsRecorded() {
		s.starter.bury(ctx, c, t)
		return false
	}
	s.takeUp(c, t, state)
	(&Execs{containers: s}).rejoin(ctx, c, t)
	return true
}

// endIsRecorded says that the last bothyd recorded the end of the latest run,
// and did not live to clear up after it.
func (c *ctr) endIsRecorded() bool {
	_, st := c.snapshot()
	exit, err := readExit(c.dir)
	return err == nil && st.State == container.StateExited && exit.ExitedAt.Equal(st.FinishedAt)
}

// takeUp goes on with a run that another bothyd began.
func (s *Containers) takeUp(c *ctr, t task, state *taskAPI.StateResponse) {
	c.note(func(st *status) {
		if !running(st.State) { // bothyd did not live to record the start
			*st = status{State: container.StateRunning, StartedAt: time.Now().UTC(), Endpoint: st.Endpoint, Machine: st.Machine}
		}
		if state.GetStatus() == tasktypes.Status_PAUSED {
			st.State = container.StatePaused
		} else {
			st.State = container.StateRunning
		}
		st.Pid = int(state.GetPid())
	})
	c.mu.Lock()
	c.task, c.ended = t, make(chan struct{})
	c.mu.Unlock()
	s.watch(c, t)
}

// hasRun says that a task's first process was started.
func hasRun(s tasktypes.Status) bool {
	return s == tasktypes.Status_RUNNING || s == tasktypes.Status_PAUSED || s == tasktypes.Status_PAUSING || s == tasktypes.Status_STOPPED
}

// sweepBundles removes what containers that are no more left below the exec
// root.
func (s *Containers) sweepBundles() {
	dir := filepath.Dir(s.starter.bundle("x"))
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("sweeping bundles", "error", err)
	}
	for _, e := range entries {
		if _, err := s.index.find(e.Name()); err == nil {
			continue
		}
		gone := &ctr{id: e.Name(), dir: s.files.removedDir(e.Name())}
		t, err := s.starter.shims.Dial(context.Background(), s.starter.bundle(gone.id))
		if err != nil {
			t = nil
		}
		s.log.Warn("removing what a container that is not on record left behind", "container", gone.id)
		s.starter.bury(context.Background(), gone, t)
	}
}
