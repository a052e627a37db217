package e2e

import (
	"strings"
	"testing"
)

func TestImagesShowsATable(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	got := e.bothy(t, "images")
	for _, want := range []string{"debian:bookworm", "DISK USAGE"} {
		if !strings.Contains(got, want) {
			t.Errorf("bothy images has no %q:\n%s", want, got)
		}
	}
}

func TestNamesOfNothing(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	for command, want := range map[string]string{
		"inspect nothing-here":              "o such object: nothing-here",
		"start nothing-here":                "No such container: nothing-here",
		"image inspect nothing-here":        "nothing-here",
		"volume inspect nothing-here":       "no such volume",
		"update --memory 1g nothing-here":   "No such container: nothing-here",
		"run --rm --name x busybox true":    "Invalid container name (x)",
		"images --filter reference=[broken": "reference=[broken",
	} {
		if r := e.run(t, "", "bothy", strings.Fields(command)...); r.status == 0 || !strings.Contains(r.stderr, want) {
			t.Errorf("bothy %s: status %d, stderr %q, want %q", command, r.status, r.stderr, want)
		}
	}
}

// TestStopDuringAStart stops a container whose machine or process is just
// coming up: whichever comes first, the two end with the container in the state
// that the later of them asked for, and never with half of it.
func TestStopDuringAStart(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := "stopped-early-" + home
		e.removeLater(t, name)
		e.bothy(t, "create", "--name", name, "--isolation", home, "busybox", "sleep", "1000")
		started := make(chan result, 1)
		go func() { started <- e.run(t, "", "bothy", "start", name) }()
		e.run(t, "", "bothy", "stop", "-t", "0", name)
		if r := <-started; r.status != 0 {
			t.Errorf("start: %d %s", r.status, r.stderr)
		}
		e.bothy(t, "stop", "-t", "0", name)
		if got := e.bothy(t, "inspect", "-f", "{{.State.Status}}", name); got != "exited" {
			t.Errorf("state %q", got)
		}
	})
}
