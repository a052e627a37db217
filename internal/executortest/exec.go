package executortest

import (
	"fmt"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	apitask "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

var execCases = map[string]func(*testing.T, *env){
	"Exec":         testExec,
	"ExecStdin":    testExecStdin,
	"ExecFailures": testExecFailures,
	"ExecKill":     testExecKill,
	"ExecUser":     testExecUser,
	"ExecTerminal": testExecTerminal,
	"ExecMoves":    testExecMoves,
	"ExecCrowded":  testExecCrowded,
}

func testExec(t *testing.T, e *env) {
	k := e.run(command("sleep", "1000"))
	x := k.exec("one", shell("echo out; echo err >&2; exit 7"))
	if got := x.wait(); got != 7 {
		t.Errorf("exit status %d, want 7", got)
	}
	if out, err := x.out.all(t), x.err.all(t); out != "out\n" || err != "err\n" {
		t.Errorf("stdout %q, stderr %q", out, err)
	}
	d, err := k.Service().Delete(k.ctx, &taskapi.DeleteRequest{ID: k.id, ExecID: "one"})
	if err != nil || d.ExitStatus != 7 {
		t.Errorf("Delete: %v, %v", d, err)
	}
	_, err = k.Service().State(k.ctx, &taskapi.StateRequest{ID: k.id, ExecID: "one"})
	wantError(t, err, errdefs.ErrNotFound, "one")
}

func testExecStdin(t *testing.T, e *env) {
	k := e.run(command("sleep", "1000"))
	x := k.exec("cat", shell("cat"))
	fmt.Fprint(x.stdio.In, "words")
	x.stdio.In.Close()
	if got := x.wait(); got != 0 {
		t.Errorf("exit status %d", got)
	}
	if got := x.out.all(t); got != "words" {
		t.Errorf("output %q", got)
	}
}

func testExecFailures(t *testing.T, e *env) {
	k := e.run(command("sleep", "1000"))
	for i, c := range []struct {
		command string
		text    string
		status  int
	}{
		{"no-such-command", "executable file not found in $PATH", 127},
		{"/no/such/command", "no such file or directory", 127},
		{"/etc/passwd", "permission denied", 126},
		{"/etc", "is a directory", 126},
	} {
		p := shell("")
		p.Args = []string{c.command}
		x, err := k.tryExec(fmt.Sprint("x", i), p)
		wantError(t, err, errdefs.ErrInvalidArgument, c.text)
		if x == nil {
			continue
		}
		if got := x.wait(); got != c.status {
			t.Errorf("%s: exit status %d, want %d", c.command, got, c.status)
		}
	}
}

func testExecKill(t *testing.T, e *env) {
	k := e.run(command("sleep", "1000"))
	x := k.exec("x", shell("trap 'exit 9' TERM; echo ready; while :; do sleep 1; done"))
	x.out.expect(t, "ready")
	if _, err := k.Service().Kill(k.ctx, &taskapi.KillRequest{ID: k.id, ExecID: "x", Signal: 15}); err != nil {
		t.Fatal("Kill:", err)
	}
	if got := x.wait(); got != 9 {
		t.Errorf("exit status %d, want 9", got)
	}
	if got := k.status(""); got != apitask.Status_RUNNING {
		t.Errorf("the container is %v", got)
	}
}

func testExecUser(t *testing.T, e *env) {
	k := e.run(command("sleep", "1000"))
	p := shell("id -u; echo $HOME; pwd")
	p.User.Username, p.Cwd = "alice", "/tmp"
	x := k.exec("x", p)
	x.wait()
	if got := x.out.all(t); got != "1000\n/home/alice\n/tmp\n" {
		t.Errorf("output %q, stderr %q", got, x.err.all(t))
	}
	p.User.Username = "nobody-here"
	_, err := k.tryExec("y", p)
	wantError(t, err, errdefs.ErrInvalidArgument, "unable to find user nobody-here")
}

func testExecTerminal(t *testing.T, e *env) {
	k := e.run(command("sleep", "1000"))
	p := shell("test -t 0 && test -t 1 && test -t 2 && stty size; read line; echo got $line; exit 5")
	p.Terminal = true
	p.ConsoleSize = consoleSize(40, 100)
	x := k.exec("x", p)
	x.out.expect(t, "40 100\r\n")
	fmt.Fprint(x.stdio.In, "typed\n")
	if got := x.wait(); got != 5 {
		t.Errorf("exit status %d, want 5", got)
	}
	x.out.expect(t, "got typed\r\n")
}

func testExecMoves(t *testing.T, e *env) {
	k := e.create(command("sleep", "1000"))
	_, err := k.tryExec("early", shell("true"))
	wantError(t, err, errdefs.ErrFailedPrecondition, "cannot exec in")
	k.start()
	x := k.exec("x", shell("cat"))
	_, err = k.tryExec("x", shell("true"))
	wantError(t, err, errdefs.ErrAlreadyExists, "already exists")
	_, err = k.Service().Delete(k.ctx, &taskapi.DeleteRequest{ID: k.id, ExecID: "x"})
	wantError(t, err, errdefs.ErrFailedPrecondition, "running")
	x.stdio.In.Close()
	x.wait()
	_, err = k.Service().Kill(k.ctx, &taskapi.KillRequest{ID: k.id, ExecID: "x", Signal: 9})
	wantError(t, err, errdefs.ErrNotFound, "process already finished")
	_, err = k.Service().Start(k.ctx, &taskapi.StartRequest{ID: k.id, ExecID: "x"})
	wantError(t, err, errdefs.ErrFailedPrecondition, "stopped")
}

// The kernel lets a process into a full group, but no further thread of it: it
// may have all that it needs by then, or not.
func testExecCrowded(t *testing.T, e *env) {
	limit := int64(6)
	k := e.run(script("for i in 1 2 3 4; do sleep 1000 & done; echo ready; cat"), func(s *specs.Spec) {
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &limit}
	})
	k.out.expect(t, "ready")
	x, err := k.tryExec("one", shell("exit 3"))
	if err != nil {
		wantError(t, err, errdefs.ErrResourceExhausted, "of the 6 processes")
	} else if got := x.wait(); got != 3 {
		t.Errorf("exit status %d", got)
	}
	if got := k.status(""); got != apitask.Status_RUNNING {
		t.Errorf("the container is %v", got)
	}
}
