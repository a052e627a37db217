package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"bothy/internal/executor"
	"bothy/internal/shimapi"
)

// bundlesDir is where the guest has its bundles.
const bundlesDir = "/run/b"

// task is the executor's task service, with a Create that prepares the machine
// first and a Shutdown that ends it.
type task struct {
	*executor.Service
	trace    *tracer
	networks *networks
	streams  streams

	done     chan struct{} // closed by Shutdown
	doneOnce sync.Once

	mu       sync.Mutex      // guards prepared
	prepared map[string]bool // ids of the containers whose bundle and network are there
}

func newTask(s *executor.Service, t *tracer, n *networks, host streams) *task {
	return &task{Service: s, trace: t, networks: n, streams: host, done: make(chan struct{}), prepared: map[string]bool{}}
}

// Create applies the GuestOptions that come with the request and creates the
// container from them.
func (t *task) Create(ctx context.Context, req *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskResponse, error) {
	t.trace.mark("create")
	defer watch("making the container " + req.ID)()
	if err := t.reserve(req.ID); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	resp, err := t.create(ctx, req)
	t.trace.mark("created")
	if err != nil {
		_ = t.release(req.ID) // the first error is the one to tell
	}
	return resp, err
}

func (t *task) create(ctx context.Context, req *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskResponse, error) {
	inner, spec, err := t.prepare(ctx, req)
	if err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("preparing the guest of %s: %w", req.ID, err))
	}
	t.trace.mark("prepared")
	return t.CreateFrom(ctx, inner, spec)
}

// reserve claims an id, which names files, for a container.
func (t *task) reserve(id string) error {
	if id == "" || id == "." || id == ".." || strings.Contains(id, "/") {
		return fmt.Errorf("container id %q is no file name: %w", id, errdefs.ErrInvalidArgument)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.prepared[id] {
		return fmt.Errorf("container %s already exists: %w", id, errdefs.ErrAlreadyExists)
	}
	t.prepared[id] = true
	return nil
}

// release removes what was prepared for a container.
func (t *task) release(id string) error {
	_ = t.networks.wait(id) // whoever needed it was told of its error
	err := errors.Join(t.networks.remove(id), os.RemoveAll(filepath.Join(bundlesDir, id)))
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.prepared, id)
	return err
}

func (t *task) Start(ctx context.Context, req *taskAPI.StartRequest) (*taskAPI.StartResponse, error) {
	resp, err := t.Service.Start(ctx, req)
	t.trace.mark("started")
	return resp, err
}

func (t *task) Wait(ctx context.Context, req *taskAPI.WaitRequest) (*taskAPI.WaitResponse, error) {
	resp, err := t.Service.Wait(ctx, req)
	t.trace.mark("exited")
	t.trace.end()
	return resp, err
}

// ready makes ahead what the next container needs: a network namespace, and if
// there was a container before, one like that.
func (t *task) ready() error {
	path, err := t.networks.prepare()
	if err != nil {
		return err
	}
	return t.Prepare(path)
}

// oomKilled serves link.OOMKilledMethod.
func (t *task) oomKilled(_ context.Context, unmarshal func(any) error) (any, error) {
	var req taskAPI.StateRequest
	if err := unmarshal(&req); err != nil {
		return nil, err
	}
	killed, err := t.OOMKilled(req.ID)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return wrapperspb.Bool(killed), nil
}

// Shutdown makes the machine power off, with whatever still runs in it.
func (t *task) Shutdown(context.Context, *taskAPI.ShutdownRequest) (*emptypb.Empty, error) {
	t.doneOnce.Do(func() { close(t.done) })
	return &emptypb.Empty{}, nil
}

// prepare makes the bundle, begins to set up the network, and returns the
// request that the executor understands, and its spec.
func (t *task) prepare(ctx context.Context, req *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskRequest, *specs.Spec, error) {
	o, err := guestOptions(req)
	if err != nil {
		return nil, nil, err
	}
	if o.Trace {
		t.trace.tell(ctx, t.streams)
		t.trace.mark("create called")
	}
	if err := setClock(o.Time); err != nil {
		return nil, nil, err
	}
	if err := addEntropy(o.Entropy); err != nil {
		return nil, nil, err
	}
	spec := &specs.Spec{}
	if err := json.Unmarshal(o.Spec, spec); err != nil {
		return nil, nil, fmt.Errorf("reading the spec: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	netns, err := t.networks.begin(req.ID, o)
	if err != nil {
		return nil, nil, err
	}
	setNetNS(spec, netns)
	if spec.Linux != nil {
		if err := t.AddFilter(spec.Linux.Seccomp, o.Filter); err != nil {
			return nil, nil, fmt.Errorf("keeping the seccomp filter: %w", err)
		}
	}
	bundle := filepath.Join(bundlesDir, req.ID)
	if err := writeBundle(bundle, spec, o.Files); err != nil {
		return nil, nil, err
	}
	inner := proto.CloneOf(req)
	inner.Bundle = bundle
	inner.Options = nil
	return inner, spec, nil
}

// guestOptions decodes a request's options.
func guestOptions(req *taskAPI.CreateTaskRequest) (*shimapi.GuestOptions, error) {
	if url := req.Options.GetTypeUrl(); url != shimapi.GuestOptionsURL {
		return nil, fmt.Errorf("options of type %q instead of %s: %w", url, shimapi.GuestOptionsURL, errdefs.ErrInvalidArgument)
	}
	o := &shimapi.GuestOptions{}
	if err := json.Unmarshal(req.Options.Value, o); err != nil {
		return nil, fmt.Errorf("reading the guest's options: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if o.Version != shimapi.Version {
		return nil, fmt.Errorf("the host speaks version %d of the options and the guest %d; the initramfs is of another bothy: %w",
			o.Version, shimapi.Version, errdefs.ErrFailedPrecondition)
	}
	return o, nil
}

// writeBundle writes the files that a spec binds, whose sources it changes to the
// guest's copies.
func writeBundle(bundle string, spec *specs.Spec, files []shimapi.File) error {
	dir := filepath.Join(bundle, "files")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	copies := map[string]string{}
	for i, f := range files {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			return err
		}
		if err := os.Chmod(path, os.FileMode(f.Mode)&os.ModePerm); err != nil {
			return err
		}
		copies[f.HostPath] = path
	}
	for i, m := range spec.Mounts {
		if path, ok := copies[m.Source]; ok {
			spec.Mounts[i].Source = path
		}
	}
	return nil
}

// setNetNS makes a spec use the network namespace at path. With none, the
// container shares the machine's, which is what a host's network is in a guest.
func setNetNS(spec *specs.Spec, path string) {
	if spec.Linux == nil {
		return
	}
	var kept []specs.LinuxNamespace
	for _, n := range spec.Linux.Namespaces {
		if n.Type != specs.NetworkNamespace {
			kept = append(kept, n)
		}
	}
	if path != "" {
		kept = append(kept, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: path})
	}
	spec.Linux.Namespaces = kept
}

// Delete removes what prepare has made, too, and returns when all that the
// container wrote is on the disk: the host may then switch the machine off.
func (t *task) Delete(ctx context.Context, req *taskAPI.DeleteRequest) (*taskAPI.DeleteResponse, error) {
	resp, err := t.Service.Delete(ctx, req)
	if err == nil && req.ExecID == "" {
		err = errgrpc.ToGRPC(t.release(req.ID))
		unix.Sync()
	}
	return resp, err
}
