package engine

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"testing"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/emptypb"

	"bothy/internal/engineapi"
	"bothy/internal/shimclient"
)

// fakeExec is a further process of a fake container.
type fakeExec struct {
	req     *taskAPI.ExecProcessRequest
	process specs.Process
	conn    net.Conn // the shim's side of the joined client; nil: none
	size    [2]uint32
	exited  chan struct{}
	status  int
}

func (t fakeTask) Exec(_ context.Context, req *taskAPI.ExecProcessRequest) (*emptypb.Empty, error) {
	e := &fakeExec{req: req, exited: make(chan struct{})}
	if err := json.Unmarshal(req.Spec.Value, &e.process); err != nil {
		return nil, err
	}
	if e.process.User.Username == "nobodyx" {
		return nil, errdefs.ErrInvalidArgument.WithMessage("unable to find user nobodyx")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.execs[req.ExecID] = e
	return &emptypb.Empty{}, nil
}

func (s *fakeShim) exec(id string) *fakeExec {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.execs[id]
}

func (s *fakeShim) execCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.execs)
}

func (t fakeTask) attachExec(id string) (shimclient.Conn, bool, error) {
	client, server := net.Pipe()
	e := t.exec(id)
	e.conn = server
	return pipeConn{client}, e.req.Terminal, nil
}

func (t fakeTask) startExec(id string) (*taskAPI.StartResponse, error) {
	e := t.exec(id)
	if e.process.Args[0] == "nonsense" {
		return nil, errdefs.ErrInvalidArgument.WithMessage(`starting process x of container y: exec: "nonsense": executable file not found in $PATH`)
	}
	return &taskAPI.StartResponse{Pid: 8}, nil
}

func (t fakeTask) waitExec(ctx context.Context, id string) (*taskAPI.WaitResponse, error) {
	e := t.exec(id)
	t.mu.Lock()
	broken := t.execBreaks > 0
	t.execBreaks--
	t.mu.Unlock()
	if broken {
		return nil, errdefs.ErrUnavailable
	}
	select {
	case <-e.exited:
		return &taskAPI.WaitResponse{ExitStatus: uint32(e.status)}, nil
	case <-t.gone:
		return nil, errdefs.ErrUnavailable
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (t fakeTask) ResizePty(_ context.Context, req *taskAPI.ResizePtyRequest) (*emptypb.Empty, error) {
	if e := t.exec(req.ExecID); e != nil {
		e.size = [2]uint32{req.Height, req.Width}
	}
	return &emptypb.Empty{}, nil
}

func (t fakeTask) stateOfExec(id string) (*taskAPI.StateResponse, error) {
	e := t.exec(id)
	if e == nil {
		return nil, errdefs.ErrNotFound
	}
	select {
	case <-e.exited:
		return &taskAPI.StateResponse{Status: tasktypes.Status_STOPPED, Pid: 8}, nil
	default:
		return &taskAPI.StateResponse{Status: tasktypes.Status_RUNNING, Pid: 8}, nil
	}
}

// end is the end of the process after its last output.
func (e *fakeExec) end(status int) {
	e.status = status
	if e.conn != nil {
		_ = e.conn.Close()
	}
	close(e.exited)
}

// execClient is a client's connection, the test's end of it.
func execClient(t *testing.T) (net.Conn, func(bool) (engineapi.Conn, error)) {
	t.Helper()
	ours, engines := net.Pipe()
	t.Cleanup(func() { _ = ours.Close() })
	return ours, func(bool) (engineapi.Conn, error) { return halfConn{engines}, nil }
}

// halfConn ends altogether where a socket would end one direction.
type halfConn struct{ net.Conn }

func (c halfConn) CloseWrite() error { return c.Close() }

func readAll(r io.Reader) string {
	data, _ := io.ReadAll(r)
	return string(data)
}
