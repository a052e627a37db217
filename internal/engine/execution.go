package engine

import (
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// execState is where an execution is in its life.
type execState string

const (
	execCreated  execState = "created"
	execStarting execState = "starting"
	execRunning  execState = "running"
	execEnded    execState = "ended"
)

// execOperation is something that happens to an execution.
type execOperation string

const (
	execBegin execOperation = "begin" // a client starts it
	execRun   execOperation = "run"   // its process is there
	execEnd   execOperation = "end"   // its process has ended, or never came up
)

// execTransitions has the state that follows for every operation that is
// allowed in a state.
var execTransitions = map[execOperation]map[execState]execState{
	execBegin: {execCreated: execStarting},
	execRun:   {execStarting: execRunning},
	execEnd:   {execStarting: execEnded, execRunning: execEnded},
}

// execution is a further process of a container: docker's exec instance.
type execution struct {
	id      string
	c       *ctr
	req     container.ExecCreateRequest
	keys    []byte        // that detach
	started chan struct{} // closed when its process is there, or will not be
	done    chan struct{} // closed when it has ended, and that was published

	mu      sync.Mutex
	state   execState
	pid     int // as the container's kernel counts; 0 if there is none
	code    int // its exit code, once ended
	endedAt time.Time
}

func newExecution(id string, c *ctr, req container.ExecCreateRequest, keys []byte) *execution {
	return &execution{
		id: id, c: c, req: req, keys: keys, state: execCreated,
		started: make(chan struct{}), done: make(chan struct{}),
	}
}

// move does op, and edit with mu held if op is allowed.
func (e *execution) move(op execOperation, edit func()) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	to, ok := execTransitions[op][e.state]
	if !ok {
		return e.refusalLocked()
	}
	e.state = to
	if edit != nil {
		edit()
	}
	return nil
}

// refusalLocked is docker's answer to a second start. It needs mu held.
func (e *execution) refusalLocked() error {
	if e.state == execEnded {
		return failure(errdefs.ErrConflict, "Error: Exec command %s has already run", e.id)
	}
	return failure(errdefs.ErrConflict, "Error: Exec command %s is already running", e.id)
}

// view is an execution at one moment.
type execView struct {
	state   execState
	pid     int
	code    int
	endedAt time.Time
}

func (e *execution) view() execView {
	e.mu.Lock()
	defer e.mu.Unlock()
	return execView{e.state, e.pid, e.code, e.endedAt}
}

// running records the process.
func (e *execution) running(pid int) error {
	defer close(e.started)
	return e.move(execRun, func() { e.pid = pid })
}

// failed records that no process came up.
func (e *execution) failed(code int) error {
	defer close(e.done)
	defer close(e.started)
	return e.end(code)
}

// end records the exit code; the caller closes done.
func (e *execution) end(code int) error {
	return e.move(execEnd, func() { e.code, e.pid, e.endedAt = code, 0, time.Now() })
}

// inspect is the answer to docker's inspection.
func (e *execution) inspect() *container.ExecInspectResponse {
	v := e.view()
	privileged := e.req.Privileged
	resp := &container.ExecInspectResponse{
		ID:      e.id,
		Running: v.state == execRunning,
		ProcessConfig: &container.ExecProcessConfig{
			Tty: e.req.Tty, Entrypoint: e.req.Cmd[0], Arguments: append([]string{}, e.req.Cmd[1:]...), Privileged: &privileged, User: e.req.User,
		},
		OpenStdin: e.req.AttachStdin, OpenStdout: e.req.AttachStdout, OpenStderr: e.req.AttachStderr,
		ContainerID: e.c.id, DetachKeys: append([]byte{}, e.keys...), Pid: v.pid,
	}
	if v.state == execEnded {
		resp.ExitCode = &v.code
	}
	return resp
}
