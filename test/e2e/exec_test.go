package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// sleeper starts a container that does nothing but run; args are further
// options.
func (e *engine) sleeper(t *testing.T, name, home string, args ...string) string {
	t.Helper()
	name = fmt.Sprintf("%s-%s", name, home)
	e.removeLater(t, name)
	e.bothy(t, append(append([]string{"run", "-d", "--name", name, "--isolation", home}, args...), "busybox", "sleep", "1000")...)
	return name
}

func TestExec(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := e.sleeper(t, "exec", home, "-e", "A=1", "-w", "/tmp")
		kernel := e.bothy(t, "exec", name, "uname", "-r")
		if (kernel == hostKernel(t)) != (home == "process") {
			t.Errorf("the kernel inside is %s, the host's %s", kernel, hostKernel(t))
		}
		for _, cli := range []string{"bothy", "docker"} {
			r := e.run(t, "", cli, "exec", name, "sh", "-c", "echo out; echo err >&2; exit 42")
			if r.stdout != "out\n" || r.stderr != "err\n" || r.status != 42 {
				t.Errorf("%s: stdout %q, stderr %q, status %d", cli, r.stdout, r.stderr, r.status)
			}
		}
		got := e.bothy(t, "exec", name, "sh", "-c", "id -u; pwd; echo $A $B")
		if got != "0\n/tmp\n1" {
			t.Errorf("the container's own settings: %q", got)
		}
		got = e.bothy(t, "exec", "-u", "1000:1000", "-w", "/etc", "-e", "A=2", "-e", "B=3", name, "sh", "-c", "id -u; id -g; pwd; echo $A $B; grep -c CapEff:.0*$ /proc/self/status")
		if got != "1000\n1000\n/etc\n2 3\n1" {
			t.Errorf("the command's own settings: %q", got)
		}
		plain := e.bothy(t, "exec", name, "grep", "CapBnd", "/proc/self/status")
		privileged := e.bothy(t, "exec", "--privileged", name, "grep", "CapBnd", "/proc/self/status")
		if !defaultCaps.MatchString(plain) || defaultCaps.MatchString(privileged) {
			t.Errorf("capabilities %q, with --privileged %q", plain, privileged)
		}
	})
}

func TestExecStatus(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := e.sleeper(t, "execstatus", home)
		for _, c := range []struct {
			args []string
			want int
			text string
		}{
			{[]string{name, "sh", "-c", "exit 255"}, 255, ""},
			{[]string{name, "sh", "-c", "kill -9 $$"}, 137, ""},
			{[]string{name, "no-such-command"}, 127, "executable file not found in $PATH"},
			{[]string{name, "/etc/passwd"}, 126, "permission denied"},
			{[]string{"-u", "nobody-knows", name, "true"}, 126, "unable to find user nobody-knows"},
			{[]string{"-w", "relative", name, "true"}, 126, "absolute path"},
			{[]string{"not-there", "true"}, 1, "No such container: not-there"},
		} {
			r := e.run(t, "", "docker", append([]string{"exec"}, c.args...)...)
			if r.status != c.want || !strings.Contains(r.stdout+r.stderr, c.text) {
				t.Errorf("%q: status %d, want %d; stdout %q, stderr %q", c.args, r.status, c.want, r.stdout, r.stderr)
			}
		}
	})
}

func TestExecMovesAllThatIsSent(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := e.sleeper(t, "execio", home)
		for _, in := range []string{"hello\n", "", strings.Repeat("0123456789abcdef", 1<<16)} {
			if r := e.run(t, in, "bothy", "exec", "-i", name, "cat"); r.status != 0 || r.stdout != in {
				t.Errorf("cat of %d bytes gave %d, status %d, stderr %q", len(in), len(r.stdout), r.status, r.stderr)
			}
		}
		r := e.run(t, "", "bothy", "exec", name, "sh", "-c", "dd if=/dev/zero bs=1024 count=1024 2>/dev/null; exit 7")
		if len(r.stdout) != 1<<20 || r.status != 7 {
			t.Errorf("%d bytes before an immediate exit, status %d, stderr %q", len(r.stdout), r.status, r.stderr)
		}
		if got := e.bothy(t, "logs", name); got != "" {
			t.Errorf("the container's log has %q", got)
		}
	})
}

func TestExecDetached(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := e.sleeper(t, "execd", home)
		e.bothy(t, "exec", name, "mkfifo", "/done")
		e.bothy(t, "exec", "-d", name, "sh", "-c", "echo unseen; echo made >/made; echo x >/done")
		if got := e.bothy(t, "exec", name, "sh", "-c", "cat /done /made"); got != "x\nmade" {
			t.Errorf("what ran detached left %q", got)
		}
		e.bothy(t, "exec", "-d", name, "sleep", "1000")
		if got := e.bothy(t, "inspect", "-f", "{{len .ExecIDs}}", name); got != "1" {
			t.Errorf("%s executions are listed", got)
		}
		if r := e.run(t, "", "bothy", "exec", "-d", name, "no-such-command"); r.status == 0 || !strings.Contains(r.stderr, "executable file not found") {
			t.Errorf("a command that is not there: status %d, stderr %q", r.status, r.stderr)
		}
	})
}

// keepResizing tells a CLI of its terminal's size until stop is called: one that
// changes before it listens is lost to it.
func keepResizing(cmd *exec.Cmd) (stop func()) {
	tick, ended := time.NewTicker(50*time.Millisecond), make(chan struct{})
	go func() {
		for {
			select {
			case <-tick.C:
				_ = cmd.Process.Signal(unix.SIGWINCH)
			case <-ended:
				return
			}
		}
	}()
	return func() { tick.Stop(); close(ended) }
}

func TestExecTerminal(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := "exectty-" + home
		e.removeLater(t, name)
		e.bothy(t, "run", "-d", "--name", name, "--isolation", home, "debian:bookworm", "sleep", "1000")
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := e.command(ctx, "docker", "exec", "-it", name, "bash", "--norc")
		tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 31, Cols: 97})
		if err != nil {
			t.Fatal(err)
		}
		defer tty.Close()
		screen := newScreen(tty)
		say := func(s string) {
			if _, err := tty.WriteString(s); err != nil {
				t.Fatal(err)
			}
		}
		say("echo size $(stty size); echo term $TERM\r")
		screen.await(t, "size 31 97")
		screen.await(t, "term xterm")
		if err := pty.Setsize(tty, &pty.Winsize{Rows: 40, Cols: 120}); err != nil {
			t.Fatal(err)
		}
		say("while [ \"$(stty size)\" != '40 120' ]; do sleep 0.1; done; echo resi''zed\r")
		stop := keepResizing(cmd)
		screen.await(t, "resized")
		stop()
		say("sh -c 'trap \"echo caught; exit\" INT; echo armed$((1+1)); while :; do sleep 0.1; done'\r")
		screen.await(t, "armed2")
		say("\x03")
		screen.await(t, "caught\r\n")
		say("exit 5\r")
		var exit *exec.ExitError
		if err := cmd.Wait(); !asExit(err, &exit) || exit.ExitCode() != 5 {
			t.Errorf("the session ended with %v; screen:\n%s", err, screen.text())
		}

		cmd = e.command(ctx, "bothy", "exec", "-it", "--detach-keys", "x,y", name, "cat")
		tty, err = pty.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		defer tty.Close()
		screen = newScreen(tty)
		say("hello\r")
		screen.await(t, "hello\r\nhello")
		say("xy")
		screen.await(t, "read escape sequence")
		_ = cmd.Wait() // docker's CLI fails then
		if got := e.bothy(t, "inspect", "-f", "{{len .ExecIDs}}", name); got != "1" {
			t.Errorf("after detaching, %s executions are there", got)
		}
	})
}

func TestExecIsRefusedUnlessTheContainerRuns(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	e.removeLater(t, "stopped")
	e.bothy(t, "create", "--name", "stopped", "busybox", "true")
	r := e.run(t, "", "docker", "exec", "stopped", "true")
	if r.status != 1 || !strings.Contains(r.stderr, "is not running") {
		t.Errorf("in a created one: status %d, stderr %q", r.status, r.stderr)
	}
	e.bothy(t, "start", "-a", "stopped")
	if r := e.run(t, "", "docker", "exec", "stopped", "true"); r.status != 1 || !strings.Contains(r.stderr, "is not running") {
		t.Errorf("in a stopped one: status %d, stderr %q", r.status, r.stderr)
	}
}

// What runs in a container ends with it, and says so.
func TestExecEndsWithItsContainer(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := e.sleeper(t, "execend", home)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := e.command(ctx, "docker", "exec", name, "sh", "-c", "echo ready; exec sleep 1000")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		newScreen(out).await(t, "ready")
		e.bothy(t, "kill", name)
		var exit *exec.ExitError
		if err := cmd.Wait(); !asExit(err, &exit) || exit.ExitCode() != 137 {
			t.Errorf("the execution ended with %v", err)
		}
	})
}

// bothyd is killed while commands run and end: the next one knows of those that
// run, and how they end.
func TestExecOutlivesTheEngine(t *testing.T) {
	t.Parallel()
	theEngine(t)
	e := ownEngine(t)
	e.bothy(t, "import", sampleImage("busybox"), "busybox")
	for _, home := range homes {
		e.bothy(t, "run", "-d", "--name", home, "--isolation", home, "busybox", "sleep", "1000")
		e.bothy(t, "exec", home, "mkfifo", "/go")
		e.bothy(t, "exec", "-d", home, "sh", "-c", "read x </go; exit 7")
	}
	execOf := func(home string) string {
		ids := strings.Trim(e.bothy(t, "inspect", "-f", "{{.ExecIDs}}", home), "[]")
		if len(ids) != 64 {
			t.Fatalf("%s: the executions are %q", home, ids)
		}
		return ids
	}
	running := map[string]string{}
	for _, home := range homes {
		running[home] = execOf(home)
	}
	if err := e.signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	for _, home := range homes {
		if got := execOf(home); got != running[home] {
			t.Errorf("%s: after the kill %s runs, before %s", home, got, running[home])
		}
		e.bothy(t, "exec", home, "sh", "-c", "echo x >/go")
	}
	for _, home := range homes {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		events := e.command(ctx, "bothy", "events", "--since", since.Format(time.RFC3339Nano), "--filter", "event=exec_die", "--filter", "container="+home,
			"--format", "{{.Actor.Attributes.execID}} {{.Actor.Attributes.exitCode}}")
		out, err := events.StdoutPipe()
		if err == nil {
			err = events.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		newScreen(out).await(t, running[home]+" 7")
		cancel()
		_ = events.Wait()
	}
}
