package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMemoryComesBack has containers use 1 GiB and free it: the host has it back
// then, after 8 seconds on a quiet machine.
func TestMemoryComesBack(t *testing.T) {
	t.Parallel()
	theEngine(t)
	for _, how := range []struct {
		name, flag, start string
	}{
		{"booted", "--vm-templates=false", "booted"},
		{"siblings", "--vm-pool=0", "restored"},
		{"memory of its own", "--vm-own-memory", "pooled restored"},
	} {
		t.Run(how.name, func(t *testing.T) {
			e := ownEngine(t, how.flag)
			e.bothy(t, "import", sampleImage("busybox"), "busybox")
			run := []string{"run", "-d", "--isolation", "vm", "--tmpfs", "/t:size=1200m", "busybox", "sleep", "1000"}
			id := e.bothy(t, run...)
			for deadline := time.Now().Add(patience); !strings.Contains(how.start, e.bothy(t, "inspect", "-f", "{{.Machine.Start}}", id)); {
				if time.Now().After(deadline) {
					t.Fatal("no machine comes up like this")
				}
				e.bothy(t, "rm", "-f", id)
				time.Sleep(time.Second) // a template is being made
				id = e.bothy(t, run...)
			}
			idle := e.machineMemory(t, id)
			e.bothy(t, "exec", id, "dd", "if=/dev/zero", "of=/t/x", "bs=1M", "count=1024")
			full := e.machineMemory(t, id)
			if full-idle < 900<<20 {
				t.Errorf("%d MiB idle, %d with 1024 in use", idle>>20, full>>20)
			}
			e.bothy(t, "exec", id, "rm", "/t/x")
			freed := time.Now()
			for e.machineMemory(t, id) > full-900<<20 {
				if time.Since(freed) > patience {
					t.Fatalf("%d MiB idle, %d with 1024 in use, and still %d", idle>>20, full>>20, e.machineMemory(t, id)>>20)
				}
				time.Sleep(100 * time.Millisecond)
			}
			t.Logf("%d MiB idle, %d with 1024 in use, %d after %s", idle>>20, full>>20, e.machineMemory(t, id)>>20, time.Since(freed).Round(100*time.Millisecond))
		})
	}
}

// TestLimitsSeen: a container sees the host's processors and its own limits, gets
// 95 % of its memory, and is killed for more.
func TestLimitsSeen(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		limited := []string{"--isolation", home, "-m", "128m", "--memory-swap", "128m", "--cpus", "0.5", "busybox"}
		const show = `nproc; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null
			cut -d' ' -f1 /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null
			dd if=/dev/zero of=/dev/null bs=119M count=1 2>/dev/null && echo fits`
		want := fmt.Sprintf("%d\n134217728\n50000\nfits", runtime.NumCPU())
		if got := e.bothy(t, append(append([]string{"run", "--rm"}, limited...), "sh", "-c", show)...); got != want {
			t.Errorf("it sees %q, want %q", got, want)
		}
		name := "greedy-" + home
		e.removeLater(t, name)
		r := e.run(t, "", "bothy", append(append([]string{"run", "--name", name}, limited...), "dd", "if=/dev/zero", "of=/dev/null", "bs=140M", "count=1")...)
		if got := e.bothy(t, "inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}}", name); r.status != 137 || got != "137 true" {
			t.Errorf("status %d, state %s", r.status, got)
		}
	})
}

// machineMemory is the memory in bytes that a container's machine has for itself.
func (e *engine) machineMemory(t *testing.T, id string) int64 {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(e.dir, "run", "c", id, "qemu.pid"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err = os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(raw)), "smaps_rollup"))
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for line := range strings.Lines(string(raw)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "Private_Dirty: %d kB", &kib); n == 1 {
			total += kib << 10
		}
	}
	return total
}
