package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"google.golang.org/protobuf/types/known/anypb"

	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
	"bothy/internal/spec"
)

// filesLinger is how long the files of a container that does not run stay open
// when nobody uses them: a client that copies asks three times, and a machine
// takes its time to boot.
const filesLinger = 3 * time.Second

// filesStall is how long a request for the files of a container that somebody
// else waits for may stand still before it is ended.
const filesStall = 20 * time.Second

// still keeps the files of a container that does not run open, by a shim that
// makes no process. The container is acquired meanwhile: who else wants it
// waits for a request that is under way, and for nothing more.
type still struct {
	mu      sync.Mutex    // guards what follows
	opening chan struct{} // a token: held while a session is opened; nil until it is wanted
	open    *session      // nil: none
	wanted  int           // operations that wait for the container

	stall time.Duration // in place of filesStall; 0: that
}

// session is a shim that serves files.
type session struct {
	task   task
	users  int
	linger *time.Timer   // runs while there are no users
	end    func()        // ends the shim and releases the container
	ended  chan struct{} // closed after end
	moved  atomic.Int64  // bytes, in either direction
}

// movingConn notes what moves.
type movingConn struct {
	shimclient.Conn
	moved *atomic.Int64
}

func (c movingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.moved.Add(int64(n))
	return n, err
}

func (c movingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.moved.Add(int64(n))
	return n, err
}

// enter waits until no session is being opened, and keeps others from opening
// one until the result is called.
func (f *still) enter(ctx context.Context) (leave func(), err error) {
	f.mu.Lock()
	if f.opening == nil {
		f.opening = make(chan struct{}, 1)
	}
	token := f.opening
	f.mu.Unlock()
	select {
	case token <- struct{}{}:
		return func() { <-token }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// join uses the session that is open, if there is one that nobody waits for
// the end of.
func (f *still) join() *session {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil || f.wanted > 0 {
		return nil
	}
	f.open.users++
	f.open.linger.Stop()
	return f.open
}

// leave ends a use. The session stays for a moment unless somebody waits.
func (f *still) leave(o *session) {
	f.mu.Lock()
	o.users--
	idle, wanted := o.users == 0 && f.open == o, f.wanted > 0
	if idle && !wanted {
		o.linger.Reset(filesLinger)
	}
	f.mu.Unlock()
	if idle && wanted {
		f.shut(o, false)
	}
}

// shut ends a session that nobody uses, or by force any; once.
func (f *still) shut(o *session, force bool) {
	f.mu.Lock()
	if f.open != o || o.users > 0 && !force {
		f.mu.Unlock()
		return
	}
	f.open = nil
	o.linger.Stop()
	f.mu.Unlock()
	o.end()
	close(o.ended)
}

// want says that an operation waits for the container, until the result is
// called.
func (f *still) want() (satisfied func()) {
	f.mu.Lock()
	f.wanted++
	o := f.open
	stall := cmp.Or(f.stall, filesStall)
	f.mu.Unlock()
	done := make(chan struct{})
	if o != nil {
		f.shut(o, false)
		go f.hurry(o, stall, done)
	}
	return func() {
		close(done)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.wanted--
	}
}

// hurry ends a session that somebody waits for once nothing has moved for a
// while: its client has stopped reading, or writing.
func (f *still) hurry(o *session, stall time.Duration, done <-chan struct{}) {
	tick := time.NewTicker(stall)
	defer tick.Stop()
	for last := o.moved.Load(); ; {
		select {
		case <-tick.C:
		case <-done:
			return
		case <-o.ended:
			return
		}
		now := o.moved.Load()
		if now == last {
			f.shut(o, true)
			return
		}
		last = now
	}
}

// errRuns says that a container runs after all.
var errRuns = errors.New("the container runs")

// stillFiles connects to the files of a container that does not run.
func (s *Containers) stillFiles(ctx context.Context, c *ctr) (shimclient.Conn, func(), error) {
	o, err := s.session(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	conn, _, err := o.task.Attach(ctx, shimapi.AttachRequest{Files: true})
	if err != nil {
		c.still.leave(o)
		return nil, nil, err
	}
	return movingConn{conn, &o.moved}, func() { c.still.leave(o) }, nil
}

// session gives a session, the one that there is or a new one, with one more
// user.
func (s *Containers) session(ctx context.Context, c *ctr) (*session, error) {
	leave, err := c.still.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if o := c.still.join(); o != nil {
		return o, nil
	}
	return s.openStill(ctx, c)
}

// openStill begins a session, with one user.
func (s *Containers) openStill(ctx context.Context, c *ctr) (_ *session, err error) {
	if err := c.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.release()
		}
	}()
	rec, st := c.snapshot()
	switch {
	case c.isGone():
		return nil, failure(errdefs.ErrNotFound, "No such container: %s", c.id)
	case running(st.State):
		return nil, errRuns
	case st.State == container.StateRemoving || st.State == container.StateDead:
		return nil, failure(errdefs.ErrConflict, "container %s is marked for removal: its files cannot be read any more", c.id)
	}
	// A client that goes away does not leave half a shim.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	t, err := s.starter.openFiles(ctx, c, rec)
	if err != nil {
		return nil, err
	}
	o := &session{task: t, users: 1, ended: make(chan struct{})}
	o.end = func() {
		s.starter.closeFiles(c, t)
		c.release()
	}
	o.linger = time.AfterFunc(time.Hour, func() { c.still.shut(o, false) })
	o.linger.Stop()
	c.still.mu.Lock()
	c.still.open = o
	c.still.mu.Unlock()
	s.cleaning.Go(func() {
		select {
		case <-o.ended:
		case <-s.ctx.Done():
			c.still.shut(o, true)
		}
	})
	return o, nil
}

// openFiles starts a shim that makes no process and serves the container's files.
// If it fails, nothing is left.
func (s *starter) openFiles(ctx context.Context, c *ctr, rec record) (_ task, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("opening the files of container %s: %w", rec.Name, err)
		}
	}()
	bundle := s.bundle(c.id)
	if err := os.MkdirAll(bundle, 0o710); err != nil {
		return nil, storeError("opening the files of", c.id, err)
	}
	var plan *machinePlan
	if rec.Home == spec.VM {
		if plan, err = s.machines.planFiles(ctx, rec); err != nil {
			_ = os.RemoveAll(bundle)
			return nil, err
		}
		defer plan.close()
	}
	options, err := s.filesOptions(c, rec, plan)
	if err != nil {
		_ = os.RemoveAll(bundle)
		return nil, err
	}
	t, err := s.spawn(ctx, c, nil, plan)
	if err != nil {
		_ = os.RemoveAll(bundle)
		return nil, err
	}
	_, err = t.Create(ctx, &taskAPI.CreateTaskRequest{
		ID: c.id, Bundle: bundle, Rootfs: rootfs(rec.Home == spec.VM, rec.HostConfig.AutoRemove, rec.Layers, c.dir),
		Options: &anypb.Any{TypeUrl: shimapi.CreateOptionsURL, Value: options},
	})
	if err != nil {
		err = s.keepConsole(c, err)
		s.closeFiles(c, t)
		return nil, err
	}
	return t, nil
}

// filesOptions makes what the shim needs beside the layers: the cgroup's path,
// in a spec that says nothing else, and the options of its Create.
func (s *starter) filesOptions(c *ctr, rec record, plan *machinePlan) ([]byte, error) {
	o := shimapi.CreateOptions{Version: shimapi.Version, StateDir: c.dir, Log: shimapi.LogOptions{Driver: "none"}}
	o.Files = &shimapi.FilesOptions{ReadOnly: rec.HostConfig.ReadonlyRootfs}
	if rec.Home == spec.VM {
		var err error
		if o.Machine, _, err = s.machines.prepare(c, rec, plan); err != nil {
			return nil, err
		}
	} else {
		binds, err := fileBinds(c, rec)
		if err != nil {
			return nil, err
		}
		o.Files.Binds = binds
	}
	group := map[string]any{"linux": map[string]string{"cgroupsPath": filepath.Join(s.opts.CgroupParent, rec.ID)}}
	if err := writeJSON(filepath.Join(s.bundle(c.id), shimapi.SpecFile), group, false); err != nil {
		return nil, storeError("opening the files of", c.id, err)
	}
	return json.Marshal(o)
}

// fileBinds are what a container of the process home sees of its host.
func fileBinds(c *ctr, rec record) ([]shimapi.FileBind, error) {
	files := networkFilesIn(c.dir)
	all := []shimapi.FileBind{
		{Source: files.resolv, Target: "/etc/resolv.conf", ReadOnly: rec.HostConfig.ReadonlyRootfs},
		{Source: files.hostname, Target: "/etc/hostname", ReadOnly: rec.HostConfig.ReadonlyRootfs},
		{Source: files.hosts, Target: "/etc/hosts", ReadOnly: rec.HostConfig.ReadonlyRootfs},
	}
	binds, err := spec.Binds(rec.HostConfig)
	if err != nil {
		return nil, err
	}
	for _, b := range binds {
		all = append(all, shimapi.FileBind{Source: b.Source, Target: b.Target, ReadOnly: b.ReadOnly})
	}
	return all, nil
}

// closeFiles ends a shim of openFiles.
func (s *starter) closeFiles(c *ctr, t task) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if _, err := t.Shutdown(ctx, &taskAPI.ShutdownRequest{ID: c.id}); err != nil || !s.gone(ctx, c, t) {
		s.log.Warn("a shim that served files does not end in good order", "container", c.id, "error", err)
		s.killShim(c, t)
		s.bury(ctx, c, nil)
		return
	}
	_ = t.Close()
	if err := os.RemoveAll(s.bundle(c.id)); err != nil {
		s.log.Error("removing a bundle", "container", c.id, "error", err)
	}
}
