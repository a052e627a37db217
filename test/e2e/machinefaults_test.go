package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestStateSaysWhatEndedAMachine has machines end in several ways.
func TestStateSaysWhatEndedAMachine(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	for _, c := range []struct {
		name, script string
		end          func(t *testing.T, name string, qemu int)
		want         []string
	}{
		{
			"panics", "mount -o remount,rw /proc/sys 2>/dev/null; read x </t/go; echo c >/proc/sysrq-trigger; sleep 60",
			// The machine may end before it has told how the command did.
			func(t *testing.T, name string, _ int) { e.run(t, "", "bothy", "exec", name, "sh", "-c", "echo >/t/go") },
			[]string{"255 ", "its guest's kernel panicked (", "Kernel panic - not syncing: sysrq triggered crash", "/consoles/"},
		},
		{
			"hangs", "read x </t/go",
			func(t *testing.T, name string, qemu int) {
				signalTo(t, qemu, syscall.SIGSTOP)
				e.bothy(t, "stop", "-t", "1", name)
			},
			[]string{"137 ", "its guest did not take a SIGKILL within "},
		},
		{
			"killed", "read x </t/go",
			func(t *testing.T, _ string, qemu int) { signalTo(t, qemu, syscall.SIGKILL) },
			[]string{"137 ", "QEMU ended: signal: killed"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			name := "machine-" + c.name
			e.removeLater(t, name)
			id := e.bothy(t, "run", "-d", "--name", name, "--isolation", "vm", "--privileged", "--tmpfs", "/t", "busybox", "sh", "-c", "mkfifo /t/go; "+c.script)
			raw, err := os.ReadFile(filepath.Join(e.dir, "run", "c", id, "qemu.pid"))
			if err != nil {
				t.Fatal(err)
			}
			qemu, err := strconv.Atoi(strings.TrimSpace(string(raw)))
			if err != nil {
				t.Fatal(err)
			}
			c.end(t, name, qemu)
			e.run(t, "", "bothy", "wait", name)
			got := e.bothy(t, "inspect", "-f", "{{.State.ExitCode}} {{.State.Error}}", name)
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is not in %q", want, got)
				}
			}
		})
	}
}

func signalTo(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}
