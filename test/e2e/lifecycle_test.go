package e2e

import (
	"context"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

func TestLifeOfADetachedContainer(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := "web-" + home
		e.removeLater(t, name)
		id := e.bothy(t, "run", "-d", "--name", name, "--isolation", home, "busybox", "sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 1 & wait; done")
		if len(id) != 64 {
			t.Fatalf("run -d printed %q", id)
		}
		follow := e.command(context.Background(), "bothy", "logs", "-f", name)
		followed, err := follow.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := follow.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len("ready\n"))
		if _, err := io.ReadFull(followed, buf); err != nil || string(buf) != "ready\n" {
			t.Fatalf("logs -f gave %q, %v", buf, err)
		}
		if got := e.bothy(t, "ps", "--filter", "name="+name, "--format", "{{.Names}} {{.State}} {{.Image}}"); got != name+" running busybox" {
			t.Errorf("ps shows %q", got)
		}
		if got := e.bothy(t, "inspect", "-f", "{{.State.Running}} {{.HostConfig.Isolation}} {{.Name}} {{.Id}}", name); got != "true "+home+" /"+name+" "+id {
			t.Errorf("inspect shows %q", got)
		}
		if r := e.run(t, "", "bothy", "rm", name); r.status == 0 || !strings.Contains(r.stderr, "running") {
			t.Errorf("rm of a running container: status %d, stderr %q", r.status, r.stderr)
		}
		if got := e.bothy(t, "stop", name[:len(name)-1]+name[len(name)-1:]); got != name {
			t.Errorf("stop printed %q", got)
		}
		rest, err := io.ReadAll(followed)
		if err != nil || string(rest) != "bye\n" {
			t.Errorf("logs -f ended with %q, %v", rest, err)
		}
		if err := follow.Wait(); err != nil {
			t.Errorf("logs -f: %v", err)
		}
		if got := e.bothy(t, "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name); got != "exited 3" {
			t.Errorf("after stop: %q", got)
		}
		if got := e.bothy(t, "wait", name); got != "3" {
			t.Errorf("wait printed %q", got)
		}
		e.bothy(t, "rm", name)
		if r := e.run(t, "", "bothy", "inspect", name); r.status == 0 {
			t.Errorf("%s is still there after rm", name)
		}
	})
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := "deaf-" + home
		e.removeLater(t, name)
		e.bothy(t, "run", "-d", "--name", name, "--isolation", home, "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
		e.bothy(t, "stop", "-t", "1", name)
		if got := e.bothy(t, "inspect", "-f", "{{.State.ExitCode}}", name); got != "137" {
			t.Errorf("exit code %s", got)
		}
	})
}

func TestTerminal(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := e.command(ctx, "bothy", "run", "--rm", "-it", "--isolation", home, "debian:bookworm", "bash", "--norc")
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
		say("for i in $(seq 50); do stty size | sed 's/^/now /'; sleep 0.1; done\r")
		screen.await(t, "now 40 120")
		say("\x03")
		say("sleep 1000; echo interrupted $?\r")
		say("\x03")
		say("exit 5\r")
		err = cmd.Wait()
		var exit *exec.ExitError
		if !asExit(err, &exit) || exit.ExitCode() != 5 {
			t.Errorf("the session ended with %v; screen:\n%s", err, screen.text())
		}
	})
}

func TestDetachAndAttach(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	e.removeLater(t, "shell")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := e.command(ctx, "bothy", "run", "-it", "--name", "shell", "busybox", "sh")
	tty, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	screen := newScreen(tty)
	_, _ = tty.WriteString("echo one$((1+1))\r")
	screen.await(t, "one2")
	_, _ = tty.WriteString("\x10\x11")
	if err := cmd.Wait(); err != nil {
		t.Errorf("detaching: %v", err)
	}
	if got := e.bothy(t, "inspect", "-f", "{{.State.Running}}", "shell"); got != "true" {
		t.Errorf("after detaching, running is %s", got)
	}
	again := e.command(ctx, "bothy", "attach", "shell")
	tty2, err := pty.Start(again)
	if err != nil {
		t.Fatal(err)
	}
	defer tty2.Close()
	screen2 := newScreen(tty2)
	_, _ = tty2.WriteString("echo two$((1+1))\r")
	screen2.await(t, "two2")
	_, _ = tty2.WriteString("exit 9\r")
	var exit *exec.ExitError
	if err := again.Wait(); !asExit(err, &exit) || exit.ExitCode() != 9 {
		t.Errorf("attach ended with %v", err)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	since := time.Now()
	e.bothy(t, "run", "--rm", "--name", "eventful", "busybox", "true")
	got := e.bothy(t, "events", "--since", since.Format(time.RFC3339Nano), "--until", time.Now().Add(time.Second).Format(time.RFC3339Nano), "--filter", "container=eventful", "--format", "{{.Action}}")
	want := []string{"create", "attach", "start", "die", "destroy"}
	rest := strings.Fields(got)
	for _, action := range want {
		for len(rest) > 0 && rest[0] != action {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			t.Fatalf("no %s in order in the events %q", action, got)
		}
	}
}
