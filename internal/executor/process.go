package executor

import (
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// process is a container's first process or one that Exec added.
type process struct {
	execID string // "" for the first
	what   string // what errors call it
	names  names
	spec   *specs.Process

	done chan struct{} // closed when stopped; exit is valid then

	mu    sync.Mutex
	state state
	pid   int // 0 until there is one
	lp    *libcontainer.Process
	stdio *stdio
	exit  exit
}

type exit struct {
	status uint32 // 0 to 255; 128+n for signal n
	at     time.Time
}

func newProcessEntry(containerID, execID string, n names, spec *specs.Process) *process {
	what := "container " + containerID
	if execID != "" {
		what = "process " + execID + " of " + what
	}
	return &process{execID: execID, what: what, names: n, spec: spec, done: make(chan struct{})}
}

// allow says whether op may be done now.
func (p *process) allow(op operation) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return check(op, p.state, p.what)
}

// move checks op and, if it is allowed, goes on to the state to.
func (p *process) move(op operation, to state) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := check(op, p.state, p.what); err != nil {
		return err
	}
	p.state = to
	return nil
}

// settle goes on to a state unless the process has ended meanwhile.
func (p *process) settle(to state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != stateStopped && p.state != stateDeleted {
		p.state = to
	}
}

func (p *process) running(lp *libcontainer.Process, pid int, st *stdio) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lp, p.pid, p.stdio = lp, pid, st
}

// stop records the exit, once, and lets Wait answer.
func (p *process) stop(e exit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == stateStopped || p.state == stateDeleted {
		return
	}
	p.state, p.exit = stateStopped, e
	close(p.done)
}

// view is what State answers, taken at one moment.
type view struct {
	state state
	pid   int
	exit  exit
}

func (p *process) view() view {
	p.mu.Lock()
	defer p.mu.Unlock()
	return view{p.state, p.pid, p.exit}
}

// io is the process's stdio, nil before it is started.
func (p *process) io() *stdio {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdio
}

// exitOf puts a process's end in a shell's words.
func exitOf(state *os.ProcessState, at time.Time) exit {
	if state != nil {
		if ws, ok := state.Sys().(syscall.WaitStatus); ok {
			if ws.Signaled() {
				return exit{status: 128 + uint32(ws.Signal()), at: at}
			}
			return exit{status: uint32(ws.ExitStatus()), at: at}
		}
	}
	return exit{status: 255, at: at} // nobody knows: its end could not be waited for
}
