package vm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"bothy/internal/shimapi"
	"bothy/internal/vm/link"
)

// Exit statuses of processes whose machine ended under them.
const (
	statusKilled = 137 // QEMU was killed
	statusDied   = 255 // QEMU or the guest's kernel ended
)

// drainTimeout bounds the wait for output that the guest has sent before it
// reported an exit.
const drainTimeout = 10 * time.Second

// guestTask is the task service of the guest, seen from the host. As long as the
// machine runs it forwards; after that it answers what can still be answered:
// the processes have exited.
type guestTask struct {
	machine  *Machine
	stream   *yamux.Stream
	conn     *ttrpc.Client // over stream
	client   taskAPI.TTRPCTaskService
	exchange *exchange

	mu    sync.Mutex // guards stdio
	stdio map[processKey]*stdio
}

// processKey names a process: a container's first has no exec id.
type processKey struct{ id, execID string }

func (k processKey) String() string {
	if k.execID == "" {
		return "container " + k.id
	}
	return fmt.Sprintf("process %s of container %s", k.execID, k.id)
}

var _ taskAPI.TTRPCTaskService = (*guestTask)(nil)

// newGuestTask opens the session's task stream and begins to serve its others.
func newGuestTask(m *Machine, session *yamux.Session) (*guestTask, error) {
	t := &guestTask{
		machine:  m,
		exchange: &exchange{streams: m.config.Streams, trace: m.config.Trace, announced: map[link.Header]*stdio{}},
		stdio:    map[processKey]*stdio{},
	}
	if err := t.open(session); err != nil {
		return nil, err
	}
	go t.exchange.accept(session, m.giveUp)
	return t, nil
}

// open opens the task stream. Calls that are made use it from then on.
func (t *guestTask) open(session *yamux.Session) error {
	stream, err := session.OpenStream()
	if err != nil {
		return err
	}
	if err := link.WriteHeader(stream, link.Header{Kind: link.Task}); err != nil {
		return err
	}
	t.stream, t.conn = stream, ttrpc.NewClient(stream)
	t.client = taskAPI.NewTTRPCTaskClient(t.conn)
	return nil
}

// Task is the guest's task service. Its Create takes the request that the
// machine was booted for, as the engine sent it. Errors have errdefs' kinds;
// once the machine is gone Wait and State report the exit, Delete succeeds,
// and everything else is ErrUnavailable.
func (m *Machine) Task() taskAPI.TTRPCTaskService { return m.task }

// OOMKilled says whether the guest's kernel killed a process of the container for
// want of memory. It is certain once Wait has answered, and until Delete.
func (m *Machine) OOMKilled(ctx context.Context, id string) (bool, error) {
	ask := func(ctx context.Context, req *taskAPI.StateRequest) (*wrapperspb.BoolValue, error) {
		answer := &wrapperspb.BoolValue{}
		return answer, m.task.conn.Call(ctx, link.GuestService, link.OOMKilledMethod, req, answer)
	}
	answer, err := forward(ctx, m.task, ask, &taskAPI.StateRequest{ID: id})
	return answer.GetValue(), err
}

// forward makes one call. An error of a machine that has ended says so.
func forward[Req, Resp any](ctx context.Context, t *guestTask, call func(context.Context, Req) (Resp, error), req Req) (Resp, error) {
	resp, err := call(ctx, req)
	if err == nil {
		return resp, nil
	}
	var none Resp
	if t.gone(ctx, err) {
		return none, t.machine.goneError()
	}
	return none, shortened(errgrpc.ToNative(err))
}

// A guest that does not answer is not waited for any longer than this. What it is
// asked takes a fraction of a second, emulated and on a busy host some.
const (
	answerTimeout = 30 * time.Second
	killTimeout   = 5 * time.Second
)

// soon is forward for a call that a guest answers within a limit if it is well.
func soon[Req, Resp any](ctx context.Context, t *guestTask, limit time.Duration, call func(context.Context, Req) (Resp, error), req Req) (Resp, error) {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := forward(bounded, t, call, req)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("the guest in the virtual machine of %s did not answer within %s; its console is in %s: %w",
			t.machine.config.ID, limit, consolePath(t.machine.config.Bundle), context.DeadlineExceeded)
	}
	return resp, err
}

// maxError bounds, in bytes, the text of a guest's error: it ends in records and
// before users' eyes.
const maxError = 4096

// shortened returns err with a bounded text and the same kind.
func shortened(err error) error {
	text := err.Error()
	if len(text) <= maxError {
		return err
	}
	return fmt.Errorf("%s ... (%d bytes more): %w", text[:maxError], len(text)-maxError, errdefs.Resolve(err))
}

// gone says whether err comes from the machine's end, and not from the guest. It
// waits for the end to be complete.
func (t *guestTask) gone(ctx context.Context, err error) bool {
	if !errors.Is(err, ttrpc.ErrClosed) && !t.machine.session.IsClosed() {
		return false
	}
	select {
	case <-t.machine.finished:
		return true
	case <-ctx.Done():
		return false
	}
}

// goneError is what a call to a machine that has ended returns.
func (m *Machine) goneError() error {
	if err := m.Err(); err != nil {
		return err
	}
	return fmt.Errorf("the virtual machine of %s has ended: %w", m.config.ID, errdefs.ErrUnavailable)
}

// exitStatus is the exit status of all processes of a machine that has ended.
func (m *Machine) exitStatus() uint32 {
	if m.process.killed() || m.closing.Load() {
		return statusKilled
	}
	return statusDied
}

// ended says whether the machine has ended.
func (m *Machine) ended() bool {
	select {
	case <-m.finished:
		return true
	default:
		return false
	}
}

// announce allows the guest to open a process's streams.
func (t *guestTask) announce(id, execID, stdin, stdout, stderr string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := processKey{id, execID}
	if _, ok := t.stdio[key]; ok {
		return fmt.Errorf("%s already exists: %w", key, errdefs.ErrAlreadyExists)
	}
	t.stdio[key] = t.exchange.announce(stdin, stdout, stderr)
	return nil
}

// forget drops what is known of a process's streams.
func (t *guestTask) forget(id, execID string) {
	t.mu.Lock()
	s := t.stdio[processKey{id, execID}]
	delete(t.stdio, processKey{id, execID})
	t.mu.Unlock()
	if s != nil {
		t.exchange.withdraw(s)
	}
}

// drain waits until the host has taken all output that the guest has sent of a
// process.
func (t *guestTask) drain(ctx context.Context, id, execID string) {
	t.mu.Lock()
	s := t.stdio[processKey{id, execID}]
	t.mu.Unlock()
	if s == nil {
		return
	}
	done := make(chan struct{})
	go func() { s.outputs.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(drainTimeout):
	}
}

func (t *guestTask) Create(ctx context.Context, req *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskResponse, error) {
	inner, err := t.machine.guestCreate(req)
	if err != nil {
		return nil, err
	}
	if err := t.announce(req.ID, "", req.Stdin, req.Stdout, req.Stderr); err != nil {
		return nil, err
	}
	if t.machine.config.Trace != nil {
		t.exchange.announce("", shimapi.TraceStream, "")
	}
	resp, err := soon(ctx, t, t.machine.config.Machine.BootTimeout, t.client.Create, inner)
	if err != nil {
		t.forget(req.ID, "")
	}
	return resp, err
}

func (t *guestTask) Exec(ctx context.Context, req *taskAPI.ExecProcessRequest) (*emptypb.Empty, error) {
	if err := t.announce(req.ID, req.ExecID, req.Stdin, req.Stdout, req.Stderr); err != nil {
		return nil, err
	}
	resp, err := soon(ctx, t, answerTimeout, t.client.Exec, req)
	if err != nil {
		t.forget(req.ID, req.ExecID)
	}
	return resp, err
}

func (t *guestTask) Wait(ctx context.Context, req *taskAPI.WaitRequest) (*taskAPI.WaitResponse, error) {
	resp, err := forward(ctx, t, t.client.Wait, req)
	if err != nil && t.machine.ended() {
		resp, err = &taskAPI.WaitResponse{ExitStatus: t.machine.exitStatus(), ExitedAt: timestamppb.New(t.machine.endedAt)}, nil
	}
	if err == nil {
		t.drain(ctx, req.ID, req.ExecID)
	}
	return resp, err
}

func (t *guestTask) State(ctx context.Context, req *taskAPI.StateRequest) (*taskAPI.StateResponse, error) {
	resp, err := soon(ctx, t, answerTimeout, t.client.State, req)
	if err != nil && t.machine.ended() {
		return &taskAPI.StateResponse{
			ID: req.ID, ExecID: req.ExecID, Bundle: t.machine.config.Bundle, Status: task.Status_STOPPED,
			ExitStatus: t.machine.exitStatus(), ExitedAt: timestamppb.New(t.machine.endedAt),
		}, nil
	}
	return resp, err
}

func (t *guestTask) Delete(ctx context.Context, req *taskAPI.DeleteRequest) (*taskAPI.DeleteResponse, error) {
	resp, err := forward(ctx, t, t.client.Delete, req)
	if err != nil && t.machine.ended() {
		resp, err = &taskAPI.DeleteResponse{ExitStatus: t.machine.exitStatus(), ExitedAt: timestamppb.New(t.machine.endedAt)}, nil
	}
	if err == nil {
		t.forget(req.ID, req.ExecID)
	}
	return resp, err
}

// Shutdown makes the guest power off.
func (t *guestTask) Shutdown(ctx context.Context, req *taskAPI.ShutdownRequest) (*emptypb.Empty, error) {
	t.machine.closing.Store(true)
	resp, err := forward(ctx, t, t.client.Shutdown, req)
	if err != nil && t.machine.ended() {
		return &emptypb.Empty{}, nil
	}
	return resp, err
}

func (t *guestTask) Start(ctx context.Context, req *taskAPI.StartRequest) (*taskAPI.StartResponse, error) {
	return soon(ctx, t, answerTimeout, t.client.Start, req)
}

func (t *guestTask) Pids(ctx context.Context, req *taskAPI.PidsRequest) (*taskAPI.PidsResponse, error) {
	return soon(ctx, t, answerTimeout, t.client.Pids, req)
}

func (t *guestTask) Stats(ctx context.Context, req *taskAPI.StatsRequest) (*taskAPI.StatsResponse, error) {
	return soon(ctx, t, answerTimeout, t.client.Stats, req)
}

func (t *guestTask) Connect(ctx context.Context, req *taskAPI.ConnectRequest) (*taskAPI.ConnectResponse, error) {
	return soon(ctx, t, answerTimeout, t.client.Connect, req)
}

func (t *guestTask) Pause(ctx context.Context, req *taskAPI.PauseRequest) (*emptypb.Empty, error) {
	return soon(ctx, t, answerTimeout, t.client.Pause, req)
}

func (t *guestTask) Resume(ctx context.Context, req *taskAPI.ResumeRequest) (*emptypb.Empty, error) {
	return soon(ctx, t, answerTimeout, t.client.Resume, req)
}

func (t *guestTask) Checkpoint(ctx context.Context, req *taskAPI.CheckpointTaskRequest) (*emptypb.Empty, error) {
	return forward(ctx, t, t.client.Checkpoint, req)
}

// Kill sends a signal. A guest that does not take a SIGKILL for its container
// ends with its machine.
func (t *guestTask) Kill(ctx context.Context, req *taskAPI.KillRequest) (*emptypb.Empty, error) {
	resp, err := soon(ctx, t, killTimeout, t.client.Kill, req)
	if !errdefs.IsDeadlineExceeded(err) || req.Signal != uint32(unix.SIGKILL) || req.ExecID != "" {
		return resp, err
	}
	t.machine.hangUp(fmt.Errorf("its guest did not take a SIGKILL within %s", killTimeout))
	select {
	case <-t.machine.finished:
		return &emptypb.Empty{}, nil
	case <-ctx.Done():
		return nil, err
	}
}

func (t *guestTask) ResizePty(ctx context.Context, req *taskAPI.ResizePtyRequest) (*emptypb.Empty, error) {
	return soon(ctx, t, answerTimeout, t.client.ResizePty, req)
}

func (t *guestTask) CloseIO(ctx context.Context, req *taskAPI.CloseIORequest) (*emptypb.Empty, error) {
	return soon(ctx, t, answerTimeout, t.client.CloseIO, req)
}

// Update changes limits inside the guest, after the machine has grown to what
// its annotation asks for.
func (t *guestTask) Update(ctx context.Context, req *taskAPI.UpdateTaskRequest) (*emptypb.Empty, error) {
	if err := t.machine.growFor(ctx, req.Annotations); err != nil {
		return nil, err
	}
	return forward(ctx, t, t.client.Update, req)
}
