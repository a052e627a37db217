package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"bothy/internal/logfile"
	"bothy/internal/shimapi"
	"bothy/internal/trace"
)

// Create makes the container and its first process, which Start starts.
func (s *service) Create(ctx context.Context, req *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskResponse, error) {
	if err := s.begin(req.ID); err != nil {
		return nil, err
	}
	t, resp, err := s.create(ctx, req)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	if err != nil {
		s.idle.Reset(idleTimeout)
		return nil, err
	}
	s.task = t
	return resp, nil
}

// begin makes sure that there is one task at most.
func (s *service) begin(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != s.id {
		return fmt.Errorf("this shim is for container %s, not %s: %w", s.id, id, errdefs.ErrInvalidArgument)
	}
	if s.busy || s.task != nil {
		return fmt.Errorf("container %s has a task already: %w", id, errdefs.ErrAlreadyExists)
	}
	s.busy = true
	s.idle.Stop()
	return nil
}

// create does the steps of Create; if one fails it takes those before it back.
func (s *service) create(ctx context.Context, req *taskAPI.CreateTaskRequest) (_ *task, _ *taskAPI.CreateTaskResponse, err error) {
	opts, err := decodeOptions(req)
	if err != nil {
		return nil, nil, err
	}
	if opts.Files != nil {
		return s.createFiles(ctx, req, opts)
	}
	t := &task{state: opts.StateDir, trace: s.openTrace(opts.Trace), ephemeral: opts.Ephemeral, processes: map[string]*process{}}
	defer func() {
		if err != nil {
			t.discard()
		}
	}()
	if opts.NetNS {
		if err := s.bindNetNS(); err != nil {
			return nil, nil, err
		}
	}
	if t.log, err = openLog(opts.Log); err != nil {
		return nil, nil, err
	}
	p, err := newProcess("", stdioOptions{
		tty:    req.Terminal,
		stdin:  opts.OpenStdin,
		stdout: true,
		stderr: true,
		once:   opts.StdinOnce,
		direct: req.Terminal || opts.Machine != nil,
		log:    t.log,
	})
	if err != nil {
		return nil, nil, err
	}
	if err := t.add(p); err != nil {
		return nil, nil, err
	}
	inner := proto.CloneOf(req)
	inner.Options = nil
	inner.Stdin, inner.Stdout, inner.Stderr = p.names()
	if t.home, err = s.newHome(ctx, homeOptions{
		id: s.id, bundle: s.bundle, rootfs: inner.Rootfs, machine: opts.Machine, network: s.network, streams: streams{t},
		filters: opts.Filters, trace: t.trace,
	}); err != nil {
		return nil, nil, err
	}
	resp, err := t.makeContainer(ctx, inner)
	if err != nil {
		return nil, nil, err
	}
	p.setPid(resp.Pid)
	go s.follow(t, p)
	s.closeNetwork()
	return t, resp, nil
}

// makeContainer makes the container in the task's home, or in a second one where
// the first turns out to be none.
func (t *task) makeContainer(ctx context.Context, req *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskResponse, error) {
	resp, err := t.home.Create(ctx, req)
	if err == nil || t.home.second == nil {
		return resp, err
	}
	second, secondErr := t.home.second(ctx)
	if second == nil {
		return nil, errors.Join(err, secondErr)
	}
	t.home = second
	return second.Create(ctx, req)
}

// closeNetwork lets go of what the container's home has by now: a tap has to go
// with its machine.
func (s *service) closeNetwork() {
	for _, file := range s.network {
		_ = file.Close()
	}
	s.network = nil
}

// discard ends a task that has no processes any more.
func (t *task) discard() {
	for _, p := range t.processes {
		p.stdio.finish()
	}
	if t.home != nil {
		if err := t.home.close(); err != nil {
			log.Printf("ending the container's home: %v", err)
		}
	}
	if err := t.log.Close(); err != nil {
		log.Print(err)
	}
	t.trace.Mark(traceName, "container deleted")
	t.trace.Close()
}

// traceName is what a trace calls the shim.
const traceName = "shim"

// openTrace opens the trace that the engine asks for. Without it the container
// starts as well.
func (s *service) openTrace(opts *shimapi.Trace) *trace.Timeline {
	if opts == nil {
		return nil
	}
	t, err := trace.Open(opts.Path, s.id, opts.Origin)
	if err != nil {
		log.Print(err)
		return nil
	}
	t.MarkAt(s.since, traceName, "shim up")
	t.Mark(traceName, "create called")
	return t
}

func decodeOptions(req *taskAPI.CreateTaskRequest) (*shimapi.CreateOptions, error) {
	if req.Options.GetTypeUrl() != shimapi.CreateOptionsURL {
		return nil, fmt.Errorf("a Create needs options of type %s, not %q: %w",
			shimapi.CreateOptionsURL, req.Options.GetTypeUrl(), errdefs.ErrInvalidArgument)
	}
	if req.Checkpoint != "" || req.ParentCheckpoint != "" {
		return nil, fmt.Errorf("starting from a checkpoint: %w", errdefs.ErrNotImplemented)
	}
	var opts shimapi.CreateOptions
	if err := json.Unmarshal(req.Options.GetValue(), &opts); err != nil {
		return nil, fmt.Errorf("reading the options of Create: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if opts.Version != shimapi.Version {
		return nil, fmt.Errorf("the options of Create have version %d, this shim knows %d: %w",
			opts.Version, shimapi.Version, errdefs.ErrInvalidArgument)
	}
	if !filepath.IsAbs(opts.StateDir) {
		return nil, fmt.Errorf("the state directory %q is no absolute path: %w", opts.StateDir, errdefs.ErrInvalidArgument)
	}
	return &opts, nil
}

func openLog(opts shimapi.LogOptions) (*logfile.Writer, error) {
	switch opts.Driver {
	case "none":
		return nil, nil
	case "json-file":
		return logfile.Create(opts.Path, logfile.WriteOptions{
			MaxSize:  opts.MaxSize,
			MaxFiles: opts.MaxFiles,
			Warn:     func(err error) { log.Print(err) },
		})
	}
	return nil, fmt.Errorf("no log driver %q, only json-file and none: %w", opts.Driver, errdefs.ErrInvalidArgument)
}

// bindNetNS gives the network namespace that the engine passed a name in this
// process's mount namespace. Done twice, the last one counts.
func (s *service) bindNetNS() error {
	if len(s.network) == 0 {
		return fmt.Errorf("the network namespace was not passed to the shim: %w", errdefs.ErrInvalidArgument)
	}
	name := filepath.Join(s.bundle, shimapi.NetNSFile)
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return fmt.Errorf("naming the network namespace: %w", err)
	}
	_ = file.Close()
	source := "/proc/self/fd/" + strconv.Itoa(int(s.network[0].Fd()))
	if err := unix.Mount(source, name, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("naming the network namespace: bind-mounting %s: %w", name, err)
	}
	return nil
}

// Exec makes a further process, which Start starts. A stream whose field in
// the request is empty is /dev/null, any other value gives a stream that
// clients attach to; nothing of it is logged.
func (s *service) Exec(ctx context.Context, req *taskAPI.ExecProcessRequest) (*emptypb.Empty, error) {
	t, err := s.find(req.ID)
	if err != nil {
		return nil, err
	}
	if req.ExecID == "" || strings.Contains(req.ExecID, "/") {
		return nil, fmt.Errorf("%q is no exec id: %w", req.ExecID, errdefs.ErrInvalidArgument)
	}
	p, err := newProcess(req.ExecID, stdioOptions{
		tty:    req.Terminal,
		stdin:  req.Stdin != "",
		stdout: req.Stdout != "",
		stderr: req.Stderr != "",
		once:   true,
		direct: req.Terminal || t.home.direct,
	})
	if err != nil {
		return nil, err
	}
	if err := t.add(p); err != nil {
		p.stdio.finish()
		return nil, err
	}
	inner := proto.CloneOf(req)
	inner.Stdin, inner.Stdout, inner.Stderr = p.names()
	resp, err := t.home.Exec(ctx, inner)
	if err != nil {
		t.remove(p.execID)
		p.stdio.finish()
		return nil, err
	}
	go s.follow(t, p)
	return resp, nil
}
