package shim

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"

	"bothy/internal/logfile"
	"bothy/internal/trace"
)

// idleTimeout is how long a shim without a task waits for one.
const idleTimeout = 30 * time.Second

// service is the task service of one container. Calls that concern streams and
// exits are answered here, the others by the container's home.
type service struct {
	id      string
	bundle  string
	version string
	network []*os.File // from shimapi.NetworkFD on, until a Create has used them
	newHome newHome
	quiet   *quiet        // nil: memory is not given back
	since   time.Duration // when the shim began, as package trace has it

	idle     *time.Timer
	stopped  chan struct{} // closed when the shim is to end
	stopOnce sync.Once

	mu    sync.Mutex // guards what follows
	task  *task      // nil: none
	busy  bool       // a Create is under way
	ended []*stdio   // of processes that are gone, with clients perhaps
}

// task is the container of a service, from Create to Delete.
type task struct {
	home  *home
	log   *logfile.Writer // nil: none is kept
	state string          // where the exit record goes

	filesOnly *filesOnly      // not nil: there are no processes, only files
	trace     *trace.Timeline // nil: none is kept

	ephemeral bool // see shimapi.CreateOptions

	mu        sync.Mutex
	processes map[string]*process // by exec id; the container's first has none
}

// process is one process of a task.
type process struct {
	execID string
	stdio  *stdio

	// ctx ends when the home has deleted the process.
	ctx    context.Context
	cancel context.CancelFunc

	mu    sync.Mutex
	pid   uint32
	final *taskAPI.DeleteResponse // set before ctx ends

	done chan struct{} // closed when the process has ended and its output is taken
	exit *taskAPI.WaitResponse
}

func newService(id, bundle, version string, network []*os.File, home newHome) *service {
	s := &service{id: id, bundle: bundle, version: version, network: network, newHome: home, since: trace.Now(), stopped: make(chan struct{})}
	s.idle = time.AfterFunc(idleTimeout, s.stop)
	return s
}

// stop lets the shim end.
func (s *service) stop() {
	s.stopOnce.Do(func() { close(s.stopped) })
}

// find gives the task if id is its container's.
func (s *service) find(id string) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.task == nil || id != s.id {
		return nil, fmt.Errorf("container %s has no task here: %w", id, errdefs.ErrNotFound)
	}
	return s.task, nil
}

// process finds a process of the container id.
func (s *service) process(id, execID string) (*task, *process, error) {
	t, err := s.find(id)
	if err != nil {
		return nil, nil, err
	}
	p, err := t.process(execID)
	return t, p, err
}

func (t *task) process(execID string) (*process, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.processes[execID]
	if p == nil {
		return nil, fmt.Errorf("no process %s: %w", execID, errdefs.ErrNotFound)
	}
	return p, nil
}

// add makes room for a process.
func (t *task) add(p *process) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.processes[p.execID] != nil {
		return fmt.Errorf("process %s is there already: %w", p.execID, errdefs.ErrAlreadyExists)
	}
	t.processes[p.execID] = p
	return nil
}

func (t *task) remove(execID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.processes, execID)
}

func newProcess(execID string, opts stdioOptions) (*process, error) {
	streams, err := newStdio(opts)
	if err != nil {
		return nil, fmt.Errorf("making the standard streams: %w", err)
	}
	p := &process{execID: execID, stdio: streams, done: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// deleted tells that the home has deleted the process, and what it answered.
func (p *process) deleted(resp *taskAPI.DeleteResponse) {
	p.mu.Lock()
	p.final = resp
	p.mu.Unlock()
	p.cancel()
}

func (p *process) last() *taskAPI.DeleteResponse {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.final
}

func (p *process) setPid(pid uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = pid
}

func (p *process) getPid() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// names are those of the process's streams in requests to its home; "" is
// /dev/null.
func (p *process) names() (stdin, stdout, stderr string) {
	if p.stdio.in != nil {
		stdin = p.execID + "/stdin"
	}
	if p.stdio.out != nil {
		stdout = p.execID + "/stdout"
	}
	if p.stdio.err != nil {
		stderr = p.execID + "/stderr"
	}
	return stdin, stdout, stderr
}

// streams opens the task's processes' streams for its home.
type streams struct{ t *task }

func (s streams) OpenInput(_ context.Context, name string) (io.ReadCloser, error) {
	p, stream, err := s.find(name)
	if err != nil {
		return nil, err
	}
	if stream == "stdin" && p.stdio.in != nil {
		if r, ok := p.stdio.in.take(); ok {
			return r, nil
		}
	}
	return nil, fmt.Errorf("stream %s cannot be opened: %w", name, errdefs.ErrNotFound)
}

func (s streams) OpenOutput(_ context.Context, name string) (io.WriteCloser, error) {
	p, stream, err := s.find(name)
	if err != nil {
		return nil, err
	}
	o := p.stdio.out
	if stream == "stderr" {
		o = p.stdio.err
	}
	if stream != "stdin" && o != nil {
		if w, ok := o.take(); ok {
			return w, nil
		}
	}
	return nil, fmt.Errorf("stream %s cannot be opened: %w", name, errdefs.ErrNotFound)
}

func (s streams) find(name string) (*process, string, error) {
	execID, stream, _ := strings.Cut(name, "/")
	p, err := s.t.process(execID)
	return p, stream, err
}
