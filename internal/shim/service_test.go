package shim

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"bothy/internal/shimapi"
)

// fakeHome is a home whose processes do what the test says. The methods that
// it doesn't have are not called.
type fakeHome struct {
	taskAPI.TTRPCTaskService
	streams   streams
	createErr error
	unasked   error
	closed    bool

	mu    sync.Mutex
	exits map[string]chan uint32
}

func (f *fakeHome) exit(execID string) chan uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.exits[execID] == nil {
		f.exits[execID] = make(chan uint32, 1)
	}
	return f.exits[execID]
}

func (f *fakeHome) Create(ctx context.Context, req *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskResponse, error) {
	if f.createErr != nil {
		return nil, f.createErr
	}
	for _, name := range []string{req.Stdout, req.Stderr} {
		if name != "" {
			w, err := f.streams.OpenOutput(ctx, name)
			if err != nil {
				return nil, err
			}
			_, _ = io.WriteString(w, name+"\n")
			_ = w.Close()
		}
	}
	return &taskAPI.CreateTaskResponse{Pid: 7}, nil
}

func (f *fakeHome) Exec(context.Context, *taskAPI.ExecProcessRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (f *fakeHome) Wait(ctx context.Context, req *taskAPI.WaitRequest) (*taskAPI.WaitResponse, error) {
	select {
	case status := <-f.exit(req.ExecID):
		return &taskAPI.WaitResponse{ExitStatus: status, ExitedAt: timestamppb.Now()}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fakeHome) Delete(context.Context, *taskAPI.DeleteRequest) (*taskAPI.DeleteResponse, error) {
	return &taskAPI.DeleteResponse{ExitStatus: 99}, nil
}

// newFake makes a service with a fake home, and a Create request for it.
func newFake(t *testing.T) (*service, *fakeHome, *taskAPI.CreateTaskRequest) {
	t.Helper()
	f := &fakeHome{exits: map[string]chan uint32{}}
	s := newService("id", t.TempDir(), "test", nil, func(_ context.Context, o homeOptions) (*home, error) {
		f.streams = o.streams
		return &home{
			TTRPCTaskService: f,
			oomKilled:        func(context.Context) (bool, error) { return false, nil },
			err:              func() error { return f.unasked },
			close:            func() error { f.closed = true; return nil },
		}, nil
	})
	t.Cleanup(func() { s.idle.Stop() })
	state := t.TempDir()
	value, err := json.Marshal(shimapi.CreateOptions{
		Version: shimapi.Version, StateDir: state,
		Log: shimapi.LogOptions{Driver: "json-file", Path: filepath.Join(state, "x.log")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, f, &taskAPI.CreateTaskRequest{ID: "id", Options: &anypb.Any{TypeUrl: shimapi.CreateOptionsURL, Value: value}}
}

func TestLifeOfATask(t *testing.T) {
	t.Parallel()
	s, f, req := newFake(t)
	ctx := t.Context()
	if _, err := s.State(ctx, &taskAPI.StateRequest{ID: "id"}); !errdefs.IsNotFound(err) {
		t.Errorf("State without a task: %v", err)
	}
	if _, err := s.Create(ctx, req); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, req); !errdefs.IsAlreadyExists(err) {
		t.Errorf("Create twice: %v", err)
	}
	if _, err := s.Shutdown(ctx, &taskAPI.ShutdownRequest{ID: "id"}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Shutdown with a task: %v", err)
	}
	if c, err := s.Connect(ctx, &taskAPI.ConnectRequest{ID: "id"}); err != nil || c.TaskPid != 7 || c.ShimPid != uint32(os.Getpid()) || c.Version != "test" {
		t.Errorf("Connect: %v, %v", c, err)
	}
	f.exit("") <- 3
	if w, err := s.Wait(ctx, &taskAPI.WaitRequest{ID: "id"}); err != nil || w.ExitStatus != 3 {
		t.Errorf("Wait: %v, %v", w, err)
	}
	if _, err := s.Delete(ctx, &taskAPI.DeleteRequest{ID: "id"}); err != nil {
		t.Fatal(err)
	}
	if !f.closed {
		t.Error("the home was not closed")
	}
	if _, err := s.Shutdown(ctx, &taskAPI.ShutdownRequest{ID: "id"}); err != nil {
		t.Fatal(err)
	}
	<-s.stopped
}

// TestShutdownNow deletes a container that has ended along with its shim.
func TestShutdownNow(t *testing.T) {
	t.Parallel()
	for _, machine := range []bool{false, true} {
		s, f, req := newFake(t)
		ctx := t.Context()
		dropped := false
		if inner := s.newHome; machine {
			s.newHome = func(ctx context.Context, o homeOptions) (*home, error) {
				h, err := inner(ctx, o)
				h.drop = func() error { dropped = true; return nil }
				return h, err
			}
		}
		if _, err := s.Create(ctx, req); err != nil {
			t.Fatal(err)
		}
		now := &taskAPI.ShutdownRequest{ID: "id", Now: true}
		if _, err := s.Shutdown(ctx, now); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("Shutdown while it runs: %v", err)
		}
		f.exit("") <- 3
		if _, err := s.Wait(ctx, &taskAPI.WaitRequest{ID: "id"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Shutdown(ctx, now); err != nil {
			t.Fatal(err)
		}
		<-s.stopped
		if !f.closed || dropped != machine {
			t.Errorf("machine %t: closed %t, dropped %t", machine, f.closed, dropped)
		}
	}
}

// TestDeleteOfWhatNeverRan deletes processes for which Wait would never answer.
func TestDeleteOfWhatNeverRan(t *testing.T) {
	t.Parallel()
	s, _, req := newFake(t)
	ctx := t.Context()
	if _, err := s.Create(ctx, req); err != nil {
		t.Fatal(err)
	}
	exec := &taskAPI.ExecProcessRequest{ID: "id", ExecID: "e", Stdout: "any"}
	if _, err := s.Exec(ctx, exec); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exec(ctx, exec); !errdefs.IsAlreadyExists(err) {
		t.Errorf("Exec twice: %v", err)
	}
	for _, execID := range []string{"e", ""} {
		within(t, "deleting", func() {
			if _, err := s.Delete(ctx, &taskAPI.DeleteRequest{ID: "id", ExecID: execID}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestClientGoesInTwoSteps ends its stdin first, while there is no output that
// would find it gone.
func TestClientGoesInTwoSteps(t *testing.T) {
	t.Parallel()
	s, _, req := newFake(t)
	if _, err := s.Create(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	exec := &taskAPI.ExecProcessRequest{ID: "id", ExecID: "e", Stdout: "any", Stdin: "any"}
	if _, err := s.Exec(t.Context(), exec); err != nil {
		t.Fatal(err)
	}
	conn, peer := pair(t)
	served := make(chan struct{})
	go func() { defer close(served); s.attach(conn) }()
	if _, err := io.WriteString(peer, `{"version":1,"execID":"e","stdin":true,"stdout":true}`+"\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(peer, make([]byte, len("{}\n"))); err != nil {
		t.Fatal(err)
	}
	if err := peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_, p, err := s.process("id", "e")
	if err != nil {
		t.Fatal(err)
	}
	r, _ := p.stdio.in.take()
	if got, err := io.ReadAll(r); err != nil || len(got) > 0 { // its stdin has ended
		t.Errorf("stdin %q, %v", got, err)
	}
	select {
	case <-p.stdio.remaining()[0].gone:
		t.Error("the client was dropped though it reads")
	default:
	}
	_ = peer.Close()
	within(t, "dropping the client", func() { <-served; <-p.stdio.remaining()[0].gone })
}

func TestIdleShimEnds(t *testing.T) {
	t.Parallel()
	s, f, req := newFake(t)
	f.createErr = errdefs.ErrInvalidArgument
	_, _ = s.Create(t.Context(), req)
	s.idle.Reset(0) // instead of waiting
	within(t, "ending", func() { <-s.stopped })
}

func TestCreateThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	s, f, req := newFake(t)
	f.createErr = errdefs.ErrInvalidArgument
	if _, err := s.Create(t.Context(), req); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Fatal(err)
	}
	if !f.closed {
		t.Error("the home was not closed")
	}
	f.createErr = nil
	if _, err := s.Create(t.Context(), req); err != nil {
		t.Errorf("Create after one that failed: %v", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*taskAPI.CreateTaskRequest, *shimapi.CreateOptions){
		"another id":     func(r *taskAPI.CreateTaskRequest, _ *shimapi.CreateOptions) { r.ID = "other" },
		"checkpoint":     func(r *taskAPI.CreateTaskRequest, _ *shimapi.CreateOptions) { r.Checkpoint = "/x" },
		"version":        func(_ *taskAPI.CreateTaskRequest, o *shimapi.CreateOptions) { o.Version = 99 },
		"state":          func(_ *taskAPI.CreateTaskRequest, o *shimapi.CreateOptions) { o.StateDir = "rel" },
		"log driver":     func(_ *taskAPI.CreateTaskRequest, o *shimapi.CreateOptions) { o.Log.Driver = "syslog" },
		"no netns given": func(_ *taskAPI.CreateTaskRequest, o *shimapi.CreateOptions) { o.NetNS = true },
	} {
		s, _, req := newFake(t)
		var opts shimapi.CreateOptions
		if err := json.Unmarshal(req.Options.Value, &opts); err != nil {
			t.Fatal(err)
		}
		change(req, &opts)
		value, err := json.Marshal(opts)
		if err != nil {
			t.Fatal(err)
		}
		req.Options.Value = value
		if _, err := s.Create(t.Context(), req); !errdefs.IsInvalidArgument(err) && !errdefs.IsNotImplemented(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnaskedEndIsRecorded(t *testing.T) {
	t.Parallel()
	s, f, req := newFake(t)
	if _, err := s.Create(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	f.unasked = errors.New("the machine burnt")
	f.exit("") <- 137
	if _, err := s.Wait(t.Context(), &taskAPI.WaitRequest{ID: "id"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(s.task.state, shimapi.ExitFile))
	if err != nil {
		t.Fatal(err)
	}
	var e shimapi.Exit
	if err := json.Unmarshal(data, &e); err != nil || e.Status != 137 || e.Error != "the machine burnt" || e.Pid != 7 {
		t.Errorf("%+v, %v", e, err)
	}
}
