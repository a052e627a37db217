package executor

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var _ taskapi.TTRPCTaskService = (*Service)(nil)

// Create mounts the root file system and makes the container's first process,
// up to its exec. What fails leaves nothing behind.
func (s *Service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	return s.CreateFrom(ctx, r, nil)
}

// CreateFrom is Create for a caller that has the bundle's spec at hand; it is the
// Service's from then on, and need not be in the bundle. Nil is Create.
func (s *Service) CreateFrom(ctx context.Context, r *taskapi.CreateTaskRequest, spec *specs.Spec) (*taskapi.CreateTaskResponse, error) {
	if r.Checkpoint != "" || r.ParentCheckpoint != "" {
		return nil, errorf(errdefs.ErrNotImplemented, "checkpoints are not supported")
	}
	if !filepath.IsAbs(r.Bundle) {
		return nil, errorf(errdefs.ErrInvalidArgument, "the bundle %q is not an absolute path", r.Bundle)
	}
	if err := s.reserve(r.ID); err != nil {
		return nil, err
	}
	c, err := s.create(ctx, r, spec)
	if err != nil {
		s.forget(r.ID)
		return nil, err
	}
	s.keep(c)
	return &taskapi.CreateTaskResponse{Pid: uint32(c.init.view().pid)}, nil
}

func (s *Service) create(ctx context.Context, r *taskapi.CreateTaskRequest, spec *specs.Spec) (*container, error) {
	var err error
	if spec == nil {
		spec, err = readSpec(r.Bundle)
	} else {
		err = complete(r.Bundle, spec)
	}
	if err != nil {
		return nil, err
	}
	spec.Process.Terminal = r.Terminal
	mounts, err := mountRootfs(r.Bundle, r.Rootfs, s.options.ResolveMount)
	if err != nil {
		return nil, err
	}
	s.options.mark("root file system mounted")
	n := names{r.Stdin, r.Stdout, r.Stderr, r.Terminal}
	c := &container{
		id:      r.ID,
		bundle:  r.Bundle,
		options: s.options,
		filters: s.filters,
		zygotes: &s.zygotes,
		root:    spec.Root.Path,
		ownNet:  hasNetNS(spec),
		spec:    spec,
		mounts:  mounts,
		init:    newProcessEntry(r.ID, "", n, spec.Process),
		execs:   map[string]*process{},
	}
	return c, c.create(ctx)
}

// Start runs a created container or a process that Exec added.
func (s *Service) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	c, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if p == c.init {
		err = c.start()
	} else {
		err = c.startExec(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	return &taskapi.StartResponse{Pid: uint32(p.view().pid)}, nil
}

// Delete removes a container or a process that Exec added; it must have
// stopped, or not have been started.
func (s *Service) Delete(_ context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	c, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if p == c.init {
		if err = c.delete(); err == nil {
			s.forget(c.id)
		}
	} else {
		err = c.deleteExec(p)
	}
	if err != nil {
		return nil, err
	}
	v := p.view()
	return &taskapi.DeleteResponse{Pid: uint32(v.pid), ExitStatus: v.exit.status, ExitedAt: timestamp(v.exit.at)}, nil
}

// Exec adds a process to a running container; Start starts it.
func (s *Service) Exec(_ context.Context, r *taskapi.ExecProcessRequest) (*emptypb.Empty, error) {
	if r.ExecID == "" {
		return nil, errorf(errdefs.ErrInvalidArgument, "a process to execute needs an id")
	}
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	spec := &specs.Process{}
	if err := json.Unmarshal(r.Spec.GetValue(), spec); err != nil {
		return nil, errorf(errdefs.ErrInvalidArgument, "reading the spec of process %s: %w", r.ExecID, err)
	}
	spec.Terminal = r.Terminal
	return empty(c.addExec(r.ExecID, names{r.Stdin, r.Stdout, r.Stderr, r.Terminal}, spec))
}

// Kill sends a signal to a process or, with All, to every one of the container.
func (s *Service) Kill(_ context.Context, r *taskapi.KillRequest) (*emptypb.Empty, error) {
	c, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if r.Signal > 64 {
		return nil, errorf(errdefs.ErrInvalidArgument, "there is no signal %d", r.Signal)
	}
	return empty(c.kill(p, unix.Signal(r.Signal), r.All))
}

// Wait blocks until the process has ended and its output was written.
func (s *Service) Wait(ctx context.Context, r *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	_, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return nil, wrap(ctx.Err(), "waiting for %s", p.what)
	}
	v := p.view()
	return &taskapi.WaitResponse{ExitStatus: v.exit.status, ExitedAt: timestamp(v.exit.at)}, nil
}

// State says where a process stands.
func (s *Service) State(_ context.Context, r *taskapi.StateRequest) (*taskapi.StateResponse, error) {
	c, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	v := p.view()
	return &taskapi.StateResponse{
		ID:         c.id,
		ExecID:     p.execID,
		Bundle:     c.bundle,
		Pid:        uint32(v.pid),
		Status:     v.state.status(),
		Stdin:      p.names.stdin,
		Stdout:     p.names.stdout,
		Stderr:     p.names.stderr,
		Terminal:   p.names.terminal,
		ExitStatus: v.exit.status,
		ExitedAt:   timestamp(v.exit.at),
	}, nil
}

// Pids lists the container's processes, by this process's PID namespace, and
// tells of each; see shimapi.Process.
func (s *Service) Pids(_ context.Context, r *taskapi.PidsRequest) (*taskapi.PidsResponse, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	if err := c.init.allow(opPids); err != nil {
		return nil, err
	}
	pids, err := c.lc.Processes()
	if err != nil {
		return nil, wrap(err, "listing the processes of container %s", c.id)
	}
	return &taskapi.PidsResponse{Processes: c.describe(pids)}, nil
}

// ResizePty sets the size of a process's terminal.
func (s *Service) ResizePty(_ context.Context, r *taskapi.ResizePtyRequest) (*emptypb.Empty, error) {
	_, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if err := p.allow(opResize); err != nil {
		return nil, err
	}
	st := p.io()
	if !p.names.terminal || st == nil {
		return nil, errorf(errdefs.ErrFailedPrecondition, "cannot resize the terminal of %s: it has none", p.what)
	}
	return empty(wrap(st.tty.resize(r.Width, r.Height), "resizing the terminal of %s", p.what))
}

// CloseIO ends a process's stdin. A terminal stays open.
func (s *Service) CloseIO(_ context.Context, r *taskapi.CloseIORequest) (*emptypb.Empty, error) {
	_, p, err := s.process(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if err := p.allow(opCloseIO); err != nil {
		return nil, err
	}
	if st := p.io(); r.Stdin && st != nil {
		st.closeInput()
	}
	return &emptypb.Empty{}, nil
}

// Pause freezes all of the container's processes.
func (s *Service) Pause(_ context.Context, r *taskapi.PauseRequest) (*emptypb.Empty, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	return empty(c.pause())
}

// Resume lets a paused container go on.
func (s *Service) Resume(_ context.Context, r *taskapi.ResumeRequest) (*emptypb.Empty, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	return empty(c.resume())
}

// Checkpoint is not there.
func (s *Service) Checkpoint(context.Context, *taskapi.CheckpointTaskRequest) (*emptypb.Empty, error) {
	return nil, errorf(errdefs.ErrNotImplemented, "checkpoints are not supported")
}

// Connect says which process serves and which is the container's first.
func (s *Service) Connect(_ context.Context, r *taskapi.ConnectRequest) (*taskapi.ConnectResponse, error) {
	resp := &taskapi.ConnectResponse{ShimPid: uint32(os.Getpid()), Version: "3"}
	if c, err := s.container(r.ID); err == nil {
		resp.TaskPid = uint32(c.init.view().pid)
	}
	return resp, nil
}

// Shutdown closes Done if no container is left, else it does nothing: a shim is
// asked whenever one of its containers was deleted.
func (s *Service) Shutdown(_ context.Context, r *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.containers) == 0 || r.Now {
		s.doneOnce.Do(func() { close(s.done) })
	}
	return &emptypb.Empty{}, nil
}

func empty(err error) (*emptypb.Empty, error) {
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// timestamp leaves a time that never came unset.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
