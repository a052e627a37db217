package executor

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"bothy/internal/executor/filter"
)

// container is one bundle that was created. Its state is its first process's.
type container struct {
	id      string
	bundle  string
	options Options
	filters *filter.Cache // nil: none
	zygotes *zygotes
	zygote  *zygote // nil: made as a whole
	root    string  // its root file system
	ownNet  bool    // its network is not the machine's
	spec    *specs.Spec
	lc      *libcontainer.Container
	cgroup  cgroups.Manager
	mounts  *mountStack
	init    *process

	ops sync.Mutex // held by operations that change the container as a whole

	mu    sync.Mutex
	execs map[string]*process
	ooms  uint64 // processes killed for want of memory, as counted at the exit
}

// create makes the container and its first process, which waits for start.
func (c *container) create(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			c.mounts.unmount()
		}
	}()
	if err := resolveUser(c.spec.Root.Path, &c.spec.Process.User, c.spec.Annotations[GroupAddAnnotation]); err != nil {
		return err
	}
	if err := makeVolumes(c.spec.Root.Path, c.spec.Annotations[VolumesAnnotation]); err != nil {
		return err
	}
	if err := makeMarker(c.spec.Root.Path, c.spec.Annotations[MarkerAnnotation]); err != nil {
		return err
	}
	z := c.zygotes.take()
	if z != nil && z.fits(c.spec) {
		return c.become(ctx, z)
	}
	if z != nil { // the next container is more likely to be like this one
		defer c.zygotes.end(z)
	}
	if err := c.createWhole(ctx); err != nil {
		return err
	}
	c.zygotes.learn(c.spec)
	return nil
}

// createWhole makes the container from its spec.
func (c *container) createWhole(ctx context.Context) error {
	config, err := containerConfig(c.id, c.bundle, c.spec)
	if err != nil {
		return err
	}
	c.lc, err = libcontainer.Create(c.options.Root, c.id, config)
	if errors.Is(err, libcontainer.ErrExist) {
		return errorf(errdefs.ErrAlreadyExists, "creating container %s: its state already exists", c.id)
	}
	if errors.Is(err, libcontainer.ErrInvalidID) {
		return errorf(errdefs.ErrInvalidArgument, "creating container %q: invalid id", c.id)
	}
	if err != nil {
		return wrap(err, "creating container %s", c.id)
	}
	c.options.mark("container made")
	if c.options.Mounted != nil {
		err = c.options.Mounted(c.id)
	}
	if err == nil {
		err = c.launch(ctx, c.init)
	}
	if err != nil {
		return errors.Join(err, c.destroy())
	}
	return nil
}

// launch makes a process: the first one up to its exec, a further one running.
func (c *container) launch(ctx context.Context, p *process) error {
	lp, err := newProcess(p.spec)
	if err != nil {
		return err
	}
	lp.Init = p == c.init
	st, err := openStdio(ctx, c.options.Streams, p.names)
	if err != nil {
		return err
	}
	if st.tty != nil {
		lp.ConsoleSocket = st.tty.theirs
	} else {
		lp.Stdin, lp.Stdout, lp.Stderr = st.child[0], st.child[1], st.child[2]
	}
	record := recordOf(c.filters, c.spec)
	if record != nil {
		defer record.Close()
		lp.ExtraFiles = []*os.File{record.File}
	}
	var pid int
	err = c.options.Reaper.Start(func() (int, error) {
		if err := c.lc.Start(lp); err != nil {
			return 0, err
		}
		pid, err = lp.Pid()
		return pid, err
	})
	if err != nil {
		st.abandon()
		return c.crowdedError(p, startError(err, "starting %s", p.what))
	}
	if p == c.init {
		c.options.mark("first process up to its exec")
	}
	if record != nil {
		_ = record.Keep() // else the next one compiles again
	}
	if err := c.attach(p, lp, pid, st); err != nil {
		return err
	}
	go c.watch(p, endOf(lp, pid, c.options.Reaper))
	return nil
}

// recordOf is what keeps a spec's compiled seccomp filter; nil if there is none,
// or it cannot be kept, which costs time and nothing else.
func recordOf(filters *filter.Cache, spec *specs.Spec) *filter.Record {
	if filters == nil || spec.Linux.Seccomp == nil {
		return nil
	}
	record, err := filters.Record(spec.Linux.Seccomp)
	if err != nil {
		return nil
	}
	return record
}

// attach takes over a process that libcontainer has started; if that fails,
// the process is killed and waited for.
func (c *container) attach(p *process, lp *libcontainer.Process, pid int, st *stdio) (err error) {
	defer func() {
		if err != nil {
			_ = lp.Signal(unix.SIGKILL)
			_, _ = lp.Wait()
			c.options.Reaper.Release(pid)
			st.abandon()
		}
	}()
	if p == c.init && c.cgroup == nil {
		if c.cgroup, err = cgroupOf(c.lc); err != nil {
			return wrap(err, "opening the cgroup of container %s", c.id)
		}
	}
	if err := st.started(); err != nil {
		return err
	}
	p.running(lp, pid, st)
	return nil
}

// endOf waits for a process's end, and tells the reaper of it.
func endOf(lp *libcontainer.Process, pid int, r *Reaper) <-chan exit {
	ended := make(chan exit, 1)
	go func() {
		ps, _ := lp.Wait() // the error only repeats the status
		e := exitOf(ps, time.Now())
		r.Release(pid)
		ended <- e
	}()
	return ended
}

// watch waits for a process's end and reports it when its output is written.
func (c *container) watch(p *process, ended <-chan exit) {
	e := <-ended
	if p == c.init {
		c.options.mark("first process ended")
		c.ended()
	}
	p.stdio.drain()
	p.stop(e)
}

// ended is called when the first process has ended. The kernel ends the others
// with it, unless they share another's PID namespace.
func (c *container) ended() {
	kills := c.oomKills()
	c.mu.Lock()
	c.ooms = kills
	c.mu.Unlock()
	config := c.lc.Config()
	if !config.Namespaces.IsPrivate(configs.NEWPID) {
		_ = c.lc.Signal(unix.SIGKILL)
	}
}

// oomKills counts the processes killed for want of memory so far.
func (c *container) oomKills() uint64 {
	live, err := c.cgroup.OOMKillCount()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return c.ooms
	}
	return max(live, c.ooms)
}

// start lets the first process go.
func (c *container) start() error {
	c.ops.Lock()
	defer c.ops.Unlock()
	if err := c.init.move(opStart, stateRunning); err != nil {
		return err
	}
	if err := c.release(); err != nil {
		_ = c.lc.Signal(unix.SIGKILL)
		return startError(err, "starting %s", c.init.what)
	}
	return nil
}

// release lets the first process execute its command.
func (c *container) release() error {
	if c.zygote != nil {
		return c.zygote.waiter.Go()
	}
	return c.lc.Exec()
}

// process finds a process by its exec id; "" is the first.
func (c *container) process(execID string) (*process, error) {
	if execID == "" {
		return c.init, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.execs[execID]
	if !ok {
		return nil, errorf(errdefs.ErrNotFound, "process %s of container %s does not exist", execID, c.id)
	}
	return p, nil
}

// addExec adds a further process, which startExec starts.
func (c *container) addExec(execID string, n names, spec *specs.Process) error {
	if err := c.init.allow(opExec); err != nil {
		return err
	}
	if err := checkProcess(spec); err != nil {
		return err
	}
	if err := resolveUser(c.spec.Root.Path, &spec.User, c.spec.Annotations[GroupAddAnnotation]); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.execs[execID]; ok {
		return errorf(errdefs.ErrAlreadyExists, "process %s of container %s already exists", execID, c.id)
	}
	c.execs[execID] = newProcessEntry(c.id, execID, n, spec)
	return nil
}

// startExec starts a further process. One that can't be started is stopped,
// with the exit status that a shell would give.
func (c *container) startExec(ctx context.Context, p *process) error {
	c.ops.Lock()
	defer c.ops.Unlock()
	if err := c.init.allow(opExec); err != nil {
		return err
	}
	if err := p.move(opStart, stateRunning); err != nil {
		return err
	}
	if err := c.launch(ctx, p); err != nil {
		p.stop(exit{status: startExitStatus(err), at: time.Now()})
		return err
	}
	return nil
}

// kill sends a signal to a process, or to all of the container's.
func (c *container) kill(p *process, sig unix.Signal, all bool) error {
	if err := p.allow(opKill); err != nil {
		return err
	}
	var err error
	v := p.view()
	if v.state == stateRunning && v.pid != 0 {
		awaitProgram(v.pid, sig)
	}
	switch {
	case all && p == c.init && sig != unix.SIGKILL:
		err = c.signalAll(sig)
	case p == c.init:
		err = c.lc.Signal(sig) // SIGKILL reaches the others too, and a paused container
	case v.pid == 0 && v.state == stateRunning:
		return errorf(errdefs.ErrFailedPrecondition, "cannot kill %s: it is being started", p.what)
	case v.pid == 0:
		p.stop(exit{status: 128 + uint32(sig), at: time.Now()})
		return nil
	default:
		err = p.lp.Signal(sig)
	}
	if errors.Is(err, libcontainer.ErrNotRunning) || errors.Is(err, os.ErrProcessDone) {
		return errorf(errdefs.ErrNotFound, "process already finished: %s", p.what)
	}
	return wrap(err, "killing %s", p.what)
}

func (c *container) signalAll(sig unix.Signal) error {
	pids, err := c.lc.Processes()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return os.NewSyscallError("kill", err)
		}
	}
	return nil
}

func (c *container) forceKill() {
	_ = c.lc.Signal(unix.SIGKILL)
}

// delete removes a container that is created (it is killed) or stopped.
func (c *container) delete() error {
	c.ops.Lock()
	defer c.ops.Unlock()
	if err := c.init.allow(opDelete); err != nil {
		return err
	}
	if c.init.view().state == stateCreated {
		c.forceKill()
		<-c.init.done
	}
	if err := c.destroy(); err != nil {
		return err
	}
	c.mounts.unmount()
	return c.init.move(opDelete, stateDeleted)
}

// deleteExec forgets a further process.
func (c *container) deleteExec(p *process) error {
	if err := p.move(opDelete, stateDeleted); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.execs, p.execID)
	return nil
}

// destroy removes libcontainer's state and the cgroup.
func (c *container) destroy() error {
	err := c.lc.Destroy()
	if c.zygote != nil {
		err = errors.Join(err, c.zygote.remove())
	}
	return wrap(err, "deleting container %s", c.id)
}
