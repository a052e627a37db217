package e2e

import (
	"strings"
	"testing"
)

// While a container is paused nothing in it runs.
func TestPause(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := "paused-" + home
		e.removeLater(t, name)
		e.bothy(t, "run", "-d", "--name", name, "--isolation", home, "busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")
		e.bothy(t, "pause", name)
		if got := e.bothy(t, "ps", "--filter", "name="+name, "--format", "{{.Status}}"); !strings.HasSuffix(got, "(Paused)") {
			t.Errorf("it is listed as %q", got)
		}
		if got := e.bothy(t, "inspect", "-f", "{{.State.Status}} {{.State.Running}} {{.State.Paused}}", name); got != "paused true true" {
			t.Errorf("its state is %q", got)
		}
		// The same moment, seen twice with some work in between.
		before := e.bothy(t, "logs", name)
		for what, args := range map[string][]string{
			"exec":         {"exec", name, "true"},
			"second pause": {"pause", name},
			"removal":      {"rm", name},
			"start":        {"start", name},
		} {
			if r := e.run(t, "", "bothy", args...); r.status == 0 || !strings.Contains(r.stderr, "pause") {
				t.Errorf("%s: status %d, stderr %q", what, r.status, r.stderr)
			}
		}
		if got := e.bothy(t, "top", name); !strings.Contains(got, "sh -c") {
			t.Errorf("its processes: %q", got)
		}
		if after := e.bothy(t, "logs", name); after != before {
			t.Errorf("it wrote %q while it was paused", strings.TrimPrefix(after, before))
		}
		e.bothy(t, "unpause", name)
		if r := e.run(t, "", "bothy", "exec", name, "true"); r.status != 0 {
			t.Errorf("exec after the pause: status %d, stderr %q", r.status, r.stderr)
		}
		if r := e.run(t, "", "bothy", "unpause", name); r.status == 0 || !strings.Contains(r.stderr, "is not paused") {
			t.Errorf("a second unpause: status %d, stderr %q", r.status, r.stderr)
		}
	})
}

// A paused container is stopped, killed and removed as one that runs.
func TestEndOfAPausedContainer(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := "pausedend-" + home
		e.removeLater(t, name)
		e.bothy(t, "run", "-d", "--name", name, "--isolation", home, "busybox", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done")
		// The trap is set once the shell sleeps.
		e.bothy(t, "exec", name, "sh", "-c", "until pidof sleep; do :; done")
		e.bothy(t, "pause", name)
		e.bothy(t, "stop", name)
		if got := e.bothy(t, "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name); got != "exited 3" {
			t.Errorf("after the stop: %q", got)
		}
		e.bothy(t, "start", name)
		e.bothy(t, "pause", name)
		e.bothy(t, "kill", name)
		if got := e.bothy(t, "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name); got != "exited 137" {
			t.Errorf("after the kill: %q", got)
		}
		e.bothy(t, "start", name)
		e.bothy(t, "pause", name)
		e.bothy(t, "rm", "-f", name)
	})
}
