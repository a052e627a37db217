package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"google.golang.org/protobuf/types/known/anypb"

	"bothy/internal/event"
	"bothy/internal/network"
	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
	"bothy/internal/spec"
	"bothy/internal/trace"
)

// startTimeout bounds a start; that of a machine's boot is the shim's own.
const startTimeout = 3 * time.Minute

// starter makes a run of a container: all steps, with one rollback.
type starter struct {
	opts     Options
	networks networkStore
	shims    shims
	machines *machines
	pool     *pool // nil: no machines wait
	gate     gate  // for machines
	host     host
	program  *os.File // the shim, sealed: every container runs the same copy
	bus      *event.Bus
	log      *slog.Logger
}

// run is a container that has started.
type run struct {
	task     task
	pid      int
	endpoint *endpoint
	machine  *machineStatus
}

// start is StartContainer for a container that was found.
func (s *Containers) start(ctx context.Context, c *ctr) error {
	asked := trace.Now()
	if err := c.acquire(ctx); err != nil {
		return err
	}
	defer c.release()
	if err := c.check(opStart); err != nil {
		return err
	}
	defer s.starter.pool.begin()()
	c.endTrace()
	c.trace = s.starter.openTrace(c.id, asked)
	c.setStarting(true)
	defer c.setStarting(false)
	rec, _ := c.snapshot()
	if rec.Home == spec.VM {
		leave, err := s.starter.gate.enter(ctx)
		if err != nil {
			return s.startFailed(c, rec, err)
		}
		defer leave()
	}
	// A client that goes away does not leave half a start.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	r, err := s.starter.start(ctx, c, rec)
	if err != nil {
		return s.startFailed(c, rec, err)
	}
	return s.adopt(ctx, c, r)
}

// adopt records a run that has begun, and watches it. The caller has acquired c.
func (s *Containers) adopt(ctx context.Context, c *ctr, r *run) error {
	err := c.move(opStart, func(st *status) {
		*st = status{State: st.State, Pid: r.pid, StartedAt: time.Now().UTC(), FinishedAt: st.FinishedAt, Endpoint: r.endpoint, Machine: r.machine}
		c.task, c.ended = r.task, make(chan struct{}) // at once with the state: see shim
	})
	if err != nil {
		return err
	}
	c.connectPending(ctx, r.task) // those who came during the start
	rec, _ := c.snapshot()
	s.emit(events.ActionStart, rec, r.machine.attributes()...)
	c.trace.Mark(traceName, "recorded")
	s.watch(c, r.task)
	return nil
}

// startFailed records why a container did not start. It stays as it was, but
// for one that is to be removed when it ends.
func (s *Containers) startFailed(c *ctr, rec record, err error) error {
	code, err := startFailure(err)
	c.endTrace()
	c.dropPending()
	c.note(func(st *status) {
		st.ExitCode, st.Error = code, err.Error()
		st.Endpoint, st.Machine = nil, nil
	})
	if rec.HostConfig.AutoRemove {
		if rerr := s.remove(c); rerr != nil {
			s.log.Error("removing a container that did not start", "container", rec.Name, "error", rerr)
		}
	}
	return err
}

// StartContainer starts a container that does not run.
func (s *Containers) StartContainer(ctx context.Context, ref string) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	return s.start(ctx, c)
}

// bundle is the container's directory below the exec root.
func (s *starter) bundle(id string) string { return filepath.Join(s.opts.ExecRoot, "c", id) }

func (s *starter) start(ctx context.Context, c *ctr, rec record) (_ *run, err error) {
	clock := newStopwatch(c.trace)
	var undo rollback
	defer func() {
		if err != nil {
			err = s.keepConsole(c, err)
			undo.run(ctx)
		}
	}()

	undo.add(func(context.Context) { _ = os.RemoveAll(s.bundle(c.id)) })
	p, err := s.prepare(ctx, c, rec, clock)
	defer s.machines.done(p.plan)
	if p.endpoint != nil {
		defer p.closeFiles()
		undo.add(func(ctx context.Context) { s.detach(ctx, c.id) })
	}
	t := p.task
	if t != nil {
		undo.add(func(ctx context.Context) { s.bury(ctx, c, t) })
	}
	if err != nil {
		return nil, err
	}
	if err := s.create(ctx, c, rec, p, t); err != nil {
		return nil, err
	}
	s.machines.came(p.plan, p.machineStatus, s.bundle(c.id))
	r := &run{task: t, machine: p.machineStatus}
	clock.lap("create")
	if p.endpoint != nil {
		r.endpoint = endpointOf(p.endpoint)
	}
	// On disk before the start: the next bothyd must know the address even if
	// this one does not live to say that the container runs.
	c.note(func(st *status) { st.Endpoint, st.Machine = r.endpoint, r.machine })
	c.connectPending(ctx, t)
	if p.endpoint != nil {
		if err := p.endpoint.Ready(); err != nil {
			return nil, err
		}
	}
	clock.lap("attach")
	resp, err := t.Start(ctx, &taskAPI.StartRequest{ID: c.id})
	if err != nil {
		return nil, startText(err)
	}
	clock.lap("start")
	s.log.Debug("container started", "container", rec.Name, "home", rec.Home, "phases", clock.String())
	r.pid = int(resp.GetPid())
	if r.endpoint != nil {
		s.networkEvent(events.ActionConnect, c.id, r.endpoint)
	}
	return r, nil
}

// startText puts docker's words before an error of the executor.
func startText(err error) error {
	return fmt.Errorf("failed to create task for container: failed to start container process: %w", err)
}

// prepared is a shim and all that it is told about its container.
type prepared struct {
	task          task // nil: it was not started
	rootfs        []*types.Mount
	plan          *machinePlan // nil in the process home
	machine       *shimapi.Machine
	machineStatus *machineStatus
	endpoint      *network.Endpoint // nil: none
	log           shimapi.LogOptions
}

func (p prepared) files() []*os.File {
	if p.endpoint == nil || p.endpoint.File == nil {
		return nil
	}
	return []*os.File{p.endpoint.File}
}

func (p prepared) closeFiles() {
	for _, f := range p.files() {
		_ = f.Close()
	}
}

// prepare makes everything that has to be there before the container. What takes
// its time is done at once: while the files are laid out, the network namespace
// is made, then the shim comes up in it and the links are made. If prepare fails,
// an endpoint in the answer is to be detached and a task to be buried.
func (s *starter) prepare(ctx context.Context, c *ctr, rec record, clock *stopwatch) (p prepared, err error) {
	if err := os.MkdirAll(s.bundle(c.id), 0o710); err != nil {
		return p, storeError("starting", c.id, err)
	}
	if rec.Home == spec.VM {
		if p.plan, err = s.machines.plan(ctx, rec); err != nil {
			return p, err
		}
		s.claim(ctx, c, rec, p.plan)
	}
	type spawned struct {
		task task
		err  error
	}
	attached, up := make(chan *network.Endpoint, 1), make(chan spawned, 1)
	go func() {
		shim := spawned{task: p.plan.shim()}
		e, err := s.attach(ctx, rec, p.plan)
		attached <- e
		if shim.err = err; err == nil && shim.task == nil {
			shim.task, shim.err = s.spawn(ctx, c, e, p.plan)
		}
		up <- shim
	}()
	defer func() {
		shim := <-up
		p.task = shim.task
		if err == nil {
			err = shim.err
		}
		clock.lap("shim")
	}()
	err = s.layOut(ctx, c, rec, &p)
	if p.endpoint = <-attached; err != nil || p.endpoint == nil {
		return p, err
	}
	clock.lap("prepare")
	if p.machine != nil && p.endpoint.Interface != nil {
		p.machine.Interfaces = []shimapi.Interface{*p.endpoint.Interface}
	}
	files, err := s.writeNetworkFiles(c, rec, p.endpoint)
	if err != nil {
		return p, err
	}
	if p.machine != nil {
		p.machine.Files = files.list()
	}
	return p, s.writeSpec(c, rec, p, files)
}

// spawn starts the shim with the network's files and those of the machine.
func (s *starter) spawn(ctx context.Context, c *ctr, e *network.Endpoint, plan *machinePlan) (_ task, err error) {
	opts := s.shimOptions(c)
	if opts.Network, err = plan.files(prepared{endpoint: e}.files(), machineUser(c.id)); err != nil {
		return nil, err
	}
	return s.shims.Start(ctx, opts)
}

// layOut computes the container's root file system and makes what it needs.
func (s *starter) layOut(ctx context.Context, c *ctr, rec record, p *prepared) error {
	if err := removeStaleExit(c.dir); err != nil {
		return storeError("starting", c.id, err)
	}
	vm := rec.Home == spec.VM
	p.rootfs = rootfs(vm, rec.HostConfig.AutoRemove, rec.Layers, c.dir)
	var err error
	if p.log, err = logOptions(rec.HostConfig.LogConfig, logPath(c.dir, c.id)); err != nil {
		return err
	}
	if vm {
		p.machine, p.machineStatus, err = s.machines.prepare(c, rec, p.plan)
		return err
	}
	if !s.host.erofs {
		return fmt.Errorf("starting container %s: this kernel has no EROFS, which layers are mounted with: use --isolation vm, or a kernel with CONFIG_EROFS_FS: %w", rec.Name, errdefs.ErrUnavailable)
	}
	return spec.PrepareBinds(rec.HostConfig)
}

// create tells the shim to make the container.
func (s *starter) create(ctx context.Context, c *ctr, rec record, p prepared, t task) error {
	options, err := json.Marshal(shimapi.CreateOptions{
		Version:   shimapi.Version,
		StateDir:  c.dir,
		Log:       p.log,
		OpenStdin: rec.Config.OpenStdin,
		StdinOnce: rec.Config.StdinOnce,
		Ephemeral: rec.HostConfig.AutoRemove,
		NetNS:     rec.Home == spec.Process && len(p.files()) > 0,
		Filters:   filtersDir(s.opts),
		Machine:   p.machine,
		Trace:     s.tracing(c.trace),
	})
	if err != nil {
		return fmt.Errorf("encoding the options of container %s: %w", rec.Name, err)
	}
	_, err = t.Create(ctx, &taskAPI.CreateTaskRequest{
		ID:       c.id,
		Bundle:   s.bundle(c.id),
		Rootfs:   p.rootfs,
		Terminal: rec.Config.Tty,
		Options:  &anypb.Any{TypeUrl: shimapi.CreateOptionsURL, Value: options},
	})
	if err != nil {
		return startText(err)
	}
	return nil
}

func (s *starter) shimOptions(c *ctr) shimclient.Options {
	return shimclient.Options{Binary: s.opts.Shim, Executable: s.program, ID: c.id, Bundle: s.bundle(c.id), StateDir: c.dir}
}
