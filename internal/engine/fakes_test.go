package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/types/known/emptypb"

	"bothy/internal/image"
	"bothy/internal/network"
	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
)

// fakeImages has one image, "app:1". What it is not asked for in these tests
// is not there.
type fakeImages struct {
	imageStore
	img       image.Image
	removed   atomic.Bool // the image has gone
	collected atomic.Int32
}

func newFakeImages() *fakeImages {
	return &fakeImages{img: image.Image{
		ID: digest.FromString("app"), Names: []string{"app:1"},
		Config:    ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}},
		RawConfig: []byte(`{"config":{"Cmd":["run"],"Env":["A=1"],"Labels":{"of":"image"}}}`),
		Layers:    []image.Layer{{File: "/layers/0.erofs"}, {File: "/layers/1.erofs"}},
		Size:      1000,
	}}
}

func (f *fakeImages) Resolve(_ context.Context, ref string) (*image.Image, error) {
	if f.removed.Load() {
		return nil, failure(errdefs.ErrNotFound, "No such image: %s", ref)
	}
	if ref == "app:1" || ref == f.img.ID.String() {
		img := f.img
		return &img, nil
	}
	return nil, failure(errdefs.ErrNotFound, "No such image: %s", ref)
}

func (f *fakeImages) List(context.Context) ([]image.Image, error) { return []image.Image{f.img}, nil }
func (f *fakeImages) Collect(context.Context) error {
	f.collected.Add(1)
	return nil
}
func (f *fakeImages) Hold(digest.Digest) func() { return func() {} }

// fakeNetworks counts who is attached.
type fakeNetworks struct {
	mu       sync.Mutex
	fail     error
	attached map[string]bool
	restored []network.InUse
}

func (f *fakeNetworks) Begin(_ context.Context, req network.Request) (*network.Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return nil, f.fail
	}
	f.attached[req.ContainerID] = true
	file, err := os.Open(os.DevNull)
	return &network.Endpoint{
		NetworkName: req.Network, NetworkID: "net", EndpointID: "ep", IPAddress: netip.MustParseAddr("10.0.0.2"),
		Gateway: netip.MustParseAddr("10.0.0.1"), PrefixLen: 24, MAC: "02:42:0a:00:00:02", File: file,
	}, err
}

func (f *fakeNetworks) Detach(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.attached, id)
	return nil
}

func (f *fakeNetworks) Restore(_ context.Context, inUse []network.InUse) error {
	f.restored = inUse
	return nil
}
func (f *fakeNetworks) DNSFor(own network.DNS) network.DNS { return own }
func (f *fakeNetworks) Gateway() netip.Addr                { return netip.MustParseAddr("10.0.0.1") }

func (f *fakeNetworks) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.attached)
}

// fakeShims are shims in this process: they outlive an engine as real ones do.
type fakeShims struct {
	mu     sync.Mutex
	fail   string // the step that fails: "spawn", "create", "start"
	breaks int    // a new shim's breaks
	// starting, if set, gets a value when a start has reached its last step, and
	// the start goes on when it is read from a second time.
	starting chan struct{}
	// ending, if set, holds up the first shim that is told to end until it is
	// closed.
	ending chan struct{}
	live   map[string]*fakeShim
	swept  []string // bundles that Cleanup was called for
	files  string   // the directory that is every container's root
}

type fakeShim struct {
	taskAPI.TTRPCTaskService // nil: calls that are not expected panic
	owner                    *fakeShims
	bundle, stateDir         string
	gone                     chan struct{} // the shim has ended
	exited                   chan struct{} // the container has ended

	mu         sync.Mutex
	started    bool
	status     int
	signals    []uint32
	busy       int    // how often it is making the container still when it is told to end
	breaks     int    // how many waits end with a broken connection
	ignore     uint32 // a signal that the container does not end on
	conns      []net.Conn
	execs      map[string]*fakeExec
	frozen     bool
	sampled    uint64 // how often it was measured
	execBreaks int    // how many waits for a further process end with a broken connection
	created    *taskAPI.CreateTaskRequest
	updated    *taskAPI.UpdateTaskRequest
}

func (f *fakeShims) Start(_ context.Context, o shimclient.Options) (task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == "spawn" {
		return nil, errors.New("spawn refused")
	}
	s := &fakeShim{owner: f, breaks: f.breaks, bundle: o.Bundle, stateDir: o.StateDir, gone: make(chan struct{}), exited: make(chan struct{}), execs: map[string]*fakeExec{}}
	f.live[o.Bundle] = s
	return fakeTask{s}, nil
}

func (f *fakeShims) Dial(_ context.Context, bundle string) (task, error) {
	if s := f.at(bundle); s != nil {
		return fakeTask{s}, nil
	}
	return nil, errdefs.ErrNotFound
}

func (f *fakeShims) Cleanup(_ context.Context, o shimclient.Options) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.swept = append(f.swept, o.Bundle)
	return nil
}

func (f *fakeShims) Stir() {}

func (f *fakeShims) at(bundle string) *fakeShim {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.live[bundle]
}

func (f *fakeShims) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.live)
}

// fakeTask is one connection to a shim.
type fakeTask struct{ *fakeShim }

func (t fakeTask) Done() <-chan struct{} { return t.gone }
func (t fakeTask) Pid() int              { return 0 }
func (t fakeTask) Close() error          { return nil }

func (t fakeTask) Attach(_ context.Context, req shimapi.AttachRequest) (shimclient.Conn, bool, error) {
	if req.ExecID != "" {
		return t.attachExec(req.ExecID)
	}
	if req.Files {
		return t.attachFiles()
	}
	client, server := net.Pipe()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns = append(t.conns, server)
	return pipeConn{client}, false, nil
}

type pipeConn struct{ net.Conn }

func (pipeConn) CloseWrite() error { return nil }

func (t fakeTask) Create(_ context.Context, req *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskResponse, error) {
	if t.owner.fail == "create" {
		return nil, errors.New("create refused")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.created = req
	return &taskAPI.CreateTaskResponse{Pid: 7}, nil
}

func (t fakeTask) Start(_ context.Context, req *taskAPI.StartRequest) (*taskAPI.StartResponse, error) {
	if req.ExecID != "" {
		return t.startExec(req.ExecID)
	}
	if t.owner.fail == "start" {
		return nil, errors.New(`exec: "nonsense": executable file not found in $PATH`)
	}
	if t.owner.starting != nil {
		t.owner.starting <- struct{}{}
		t.owner.starting <- struct{}{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.started = true
	return &taskAPI.StartResponse{Pid: 7}, nil
}

func (t fakeTask) State(_ context.Context, req *taskAPI.StateRequest) (*taskAPI.StateResponse, error) {
	if req.ExecID != "" {
		return t.stateOfExec(req.ExecID)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	st := tasktypes.Status_CREATED
	select {
	case <-t.exited:
		st = tasktypes.Status_STOPPED
	default:
		switch {
		case t.frozen:
			st = tasktypes.Status_PAUSED
		case t.started:
			st = tasktypes.Status_RUNNING
		}
	}
	return &taskAPI.StateResponse{Status: st, Pid: 7}, nil
}

func (t fakeTask) Wait(ctx context.Context, req *taskAPI.WaitRequest) (*taskAPI.WaitResponse, error) {
	if req.ExecID != "" {
		return t.waitExec(ctx, req.ExecID)
	}
	t.mu.Lock()
	broken := t.breaks > 0
	t.breaks--
	t.mu.Unlock()
	if broken {
		return nil, errors.New("broken pipe")
	}
	select {
	case <-t.exited:
		return &taskAPI.WaitResponse{ExitStatus: uint32(t.status)}, nil
	case <-t.gone:
		return nil, errdefs.ErrUnavailable
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (t fakeTask) Kill(_ context.Context, req *taskAPI.KillRequest) (*emptypb.Empty, error) {
	t.mu.Lock()
	t.signals = append(t.signals, req.Signal)
	ignored := t.ignore == req.Signal || t.frozen && req.Signal != uint32(syscall.SIGKILL)
	t.mu.Unlock()
	if !ignored {
		t.end(128 + int(req.Signal))
	}
	return &emptypb.Empty{}, nil
}

func (t fakeTask) Delete(_ context.Context, req *taskAPI.DeleteRequest) (*taskAPI.DeleteResponse, error) {
	if req.ExecID != "" {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.execs, req.ExecID)
	}
	return &taskAPI.DeleteResponse{}, nil
}

func (t fakeTask) Shutdown(context.Context, *taskAPI.ShutdownRequest) (*emptypb.Empty, error) {
	t.owner.mu.Lock()
	hold := t.owner.ending
	t.owner.ending = nil
	t.owner.mu.Unlock()
	if hold != nil {
		<-hold
	}
	t.mu.Lock()
	t.busy--
	busy := t.busy >= 0
	t.mu.Unlock()
	if busy {
		return nil, errdefs.ErrFailedPrecondition
	}
	t.vanish()
	return &emptypb.Empty{}, nil
}

// end is the end of the container's process, seen by its shim.
func (s *fakeShim) end(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.exited:
		return
	default:
	}
	s.status = status
	data, _ := json.Marshal(shimapi.Exit{Version: shimapi.Version, Status: status, ExitedAt: time.Now()})
	_ = os.WriteFile(filepath.Join(s.stateDir, shimapi.ExitFile), data, 0o600)
	for _, c := range s.conns {
		_ = c.Close()
	}
	close(s.exited)
}

// vanish is the end of the shim.
func (s *fakeShim) vanish() {
	s.owner.mu.Lock()
	delete(s.owner.live, s.bundle)
	s.owner.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.gone:
	default:
		close(s.gone)
	}
}
