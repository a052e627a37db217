// Package executortest is the suite that every implementation of the task
// service must pass: the executor on a host, the same executor in a guest, and
// whatever forwards to one. It knows the service's interface only; how a bundle
// gets to the service and how its stdio comes back is the harness's matter.
package executortest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
)

// Harness makes fixtures. Each case takes one of its own, and gives nothing
// back: what is to be undone is registered with t.Cleanup.
type Harness interface {
	New(t *testing.T) Fixture
}

// Fixture is a service and the way to bring something to it.
type Fixture interface {
	Service() taskapi.TTRPCTaskService

	// Prepare turns a spec into a Create request without stdio. The root file
	// system is a fresh, writable busybox with all its applets linked in /bin
	// and the files of Etc. Prepare may set the spec's cgroup path.
	Prepare(t *testing.T, id string, spec *specs.Spec) *taskapi.CreateTaskRequest

	// Stdio makes streams for one process.
	Stdio(t *testing.T, terminal bool) *Stdio

	// Leftovers lists what is left of a deleted container: mounts, cgroups and
	// the like. Where that can't be seen it is empty.
	Leftovers(t *testing.T, id string) []string
}

// Stdio is a process's streams: their names for requests and their other ends.
// Out and Err end when the process's output has ended; Err is nil with a
// terminal. Closing In ends the process's stdin.
type Stdio struct {
	Stdin, Stdout, Stderr string

	In       io.WriteCloser
	Out, Err io.Reader
}

// Etc are files of the root file system that the cases look at, by path.
var Etc = map[string]string{
	"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n",
	"/etc/group":  "root:x:0:\nalice:x:1000:\nstaff:x:50:alice\nvideo:x:44:\n",
}

// Timeout bounds each single case: a guest without hardware help is slow.
const Timeout = 60 * time.Second

// Run runs all cases.
func Run(t *testing.T, h Harness) {
	for _, group := range []map[string]func(*testing.T, *env){
		stdioCases, processCases, securityCases, resourceCases, lifecycleCases, execCases, terminalCases,
	} {
		for name, f := range group {
			t.Run(name, func(t *testing.T) { f(t, newEnv(t, h)) })
		}
	}
}

// env is what one case works with.
type env struct {
	Fixture
	t   *testing.T
	ctx context.Context
}

func newEnv(t *testing.T, h Harness) *env {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	t.Cleanup(cancel)
	return &env{Fixture: h.New(t), t: t, ctx: ctx}
}

// ids makes container ids that are unique in this process.
var ids atomic.Int64

// task is a container that a case has created.
type task struct {
	*env
	id    string
	stdio *Stdio
	out   *collector
	err   *collector
}

// change alters the default spec of a case.
type change func(*specs.Spec)

// command sets what to run.
func command(args ...string) change {
	return func(s *specs.Spec) { s.Process.Args = args }
}

// script runs a shell script.
func script(text string) change { return command("/bin/sh", "-c", text) }

// create makes a container, which is removed when the case ends.
func (e *env) create(changes ...change) *task {
	e.t.Helper()
	k, err := e.tryCreate(changes...)
	if err != nil {
		e.t.Fatalf("Create: %v", err)
	}
	return k
}

func (e *env) tryCreate(changes ...change) (*task, error) {
	e.t.Helper()
	spec := DefaultSpec()
	for _, c := range changes {
		c(spec)
	}
	k := &task{env: e, id: fmt.Sprintf("case-%d-%d", time.Now().UnixNano()%1e9, ids.Add(1))}
	r := e.Prepare(e.t, k.id, spec)
	k.stdio = e.Stdio(e.t, spec.Process.Terminal)
	r.Terminal, r.Stdin, r.Stdout, r.Stderr = spec.Process.Terminal, k.stdio.Stdin, k.stdio.Stdout, k.stdio.Stderr
	k.out, k.err = collect(k.stdio.Out), collect(k.stdio.Err)
	_, err := e.Service().Create(e.ctx, r)
	if err == nil {
		e.t.Cleanup(k.remove)
	}
	return k, err
}

// run creates and starts a container.
func (e *env) run(changes ...change) *task {
	e.t.Helper()
	k := e.create(changes...)
	k.start()
	return k
}

func (k *task) start() {
	k.t.Helper()
	if _, err := k.Service().Start(k.ctx, &taskapi.StartRequest{ID: k.id}); err != nil {
		k.t.Fatalf("Start: %v", err)
	}
}

// wait gives the exit status.
func (k *task) wait() int {
	k.t.Helper()
	r, err := k.Service().Wait(k.ctx, &taskapi.WaitRequest{ID: k.id})
	if err != nil {
		k.t.Fatalf("Wait: %v", err)
	}
	return int(r.ExitStatus)
}

func (k *task) kill(signal uint32) {
	k.t.Helper()
	if _, err := k.Service().Kill(k.ctx, &taskapi.KillRequest{ID: k.id, Signal: signal}); err != nil {
		k.t.Fatalf("Kill: %v", err)
	}
}

func (k *task) delete() {
	k.t.Helper()
	if _, err := k.Service().Delete(k.ctx, &taskapi.DeleteRequest{ID: k.id}); err != nil {
		k.t.Fatalf("Delete: %v", err)
	}
}

// remove is the cleaning up of a case, whatever it left.
func (k *task) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	s := k.Service()
	_, _ = s.Kill(ctx, &taskapi.KillRequest{ID: k.id, Signal: 9, All: true})
	_, _ = s.Wait(ctx, &taskapi.WaitRequest{ID: k.id})
	_, _ = s.Delete(ctx, &taskapi.DeleteRequest{ID: k.id})
}

// output runs a container to its end and gives its stdout, trimmed; another
// exit status than 0 is fatal.
func (e *env) output(changes ...change) string {
	e.t.Helper()
	k := e.run(changes...)
	_ = k.stdio.In.Close()
	if status := k.wait(); status != 0 {
		e.t.Fatalf("exit status %d, stderr %q", status, k.err.all(k.t))
	}
	return strings.TrimSpace(k.out.all(k.t))
}

// exec adds and starts a process in a running container.
func (k *task) exec(id string, p *specs.Process) *execTask {
	k.t.Helper()
	x, err := k.tryExec(id, p)
	if err != nil {
		k.t.Fatalf("executing %v: %v", p.Args, err)
	}
	return x
}

func (k *task) tryExec(id string, p *specs.Process) (*execTask, error) {
	k.t.Helper()
	st := k.Stdio(k.t, p.Terminal)
	x := &execTask{task: k, execID: id, stdio: st, out: collect(st.Out), err: collect(st.Err)}
	data, err := json.Marshal(p)
	if err != nil {
		k.t.Fatal(err)
	}
	if _, err := k.Service().Exec(k.ctx, &taskapi.ExecProcessRequest{
		ID: k.id, ExecID: id, Terminal: p.Terminal, Stdin: st.Stdin, Stdout: st.Stdout, Stderr: st.Stderr,
		Spec: &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process", Value: data},
	}); err != nil {
		return nil, err
	}
	_, err = k.Service().Start(k.ctx, &taskapi.StartRequest{ID: k.id, ExecID: id})
	return x, err
}

// execTask is a process that a case has added.
type execTask struct {
	*task
	execID string
	stdio  *Stdio
	out    *collector
	err    *collector
}

func (x *execTask) wait() int {
	x.t.Helper()
	r, err := x.Service().Wait(x.ctx, &taskapi.WaitRequest{ID: x.id, ExecID: x.execID})
	if err != nil {
		x.t.Fatalf("Wait: %v", err)
	}
	return int(r.ExitStatus)
}

// shell is a process that runs a shell script.
func shell(text string) *specs.Process {
	p := *DefaultSpec().Process
	p.Args = []string{"/bin/sh", "-c", text}
	return &p
}

func (k *task) closeStdin() {
	k.t.Helper()
	if _, err := k.Service().CloseIO(k.ctx, &taskapi.CloseIORequest{ID: k.id, Stdin: true}); err != nil {
		k.t.Fatalf("CloseIO: %v", err)
	}
}
