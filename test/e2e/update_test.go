package e2e

import (
	"strings"
	"testing"
)

// TestUpdate raises limits of a container that runs far beyond what its machine
// had, if it has one, and uses what it got.
func TestUpdate(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := "update-" + home
		e.removeLater(t, name)
		e.bothy(t, "run", "-d", "--name", name, "--isolation", home, "-m", "64m", "--memory-swap", "64m", "--pids-limit", "9", "--tmpfs", "/t:size=900m", "busybox", "sleep", "1000")
		fill := []string{"exec", name, "dd", "if=/dev/zero", "of=/t/x", "bs=1M", "count=600"}
		e.bothy(t, "update", "-m", "800m", "--memory-swap", "800m", "--cpus", "0.5", "--pids-limit", "-1", name)
		e.bothy(t, fill...)
		if got := e.bothy(t, "exec", name, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 0.1 & done; cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || true"); !strings.HasPrefix(got, "50000") {
			t.Errorf("processor time %q", got)
		}
		r := e.run(t, "", "bothy", "update", "-m", "900m", name)
		if r.status == 0 || !strings.Contains(r.stderr, "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time") {
			t.Errorf("memory above memory and swap: status %d, %s", r.status, r.stderr)
		}
		if r := e.run(t, "", "bothy", "update", "--restart", "always", name); r.status == 0 || !strings.Contains(r.stderr, "--restart") {
			t.Errorf("a restart policy: status %d, %s", r.status, r.stderr)
		}
		const limits = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}}"
		if got := e.bothy(t, "inspect", "-f", limits, name); got != "838860800 838860800 500000000" {
			t.Errorf("limits %s", got)
		}
		e.bothy(t, "kill", name)
		e.bothy(t, "wait", name)
		e.bothy(t, "update", "--cpu-shares", "300", name)
		e.bothy(t, "start", name)
		e.bothy(t, fill...)
		if got := e.bothy(t, "inspect", "-f", limits+" {{.HostConfig.CpuShares}}", name); got != "838860800 838860800 500000000 300" {
			t.Errorf("limits %s", got)
		}
	})
}
