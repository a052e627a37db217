package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// waitingMachines is what `info` says of the pool.
func waitingMachines(t *testing.T, e *engine) string {
	t.Helper()
	const rows = `{{range .DriverStatus}}{{if eq (index . 0) "VM pool"}}{{index . 1}}{{end}}{{end}}`
	return e.bothy(t, "info", "--format", rows)
}

// awaitMachines waits until that many machines wait, of one size.
func awaitMachines(t *testing.T, e *engine, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		said := waitingMachines(t, e)
		if strings.Contains(said, fmt.Sprintf("waiting: %d of", n)) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d machines are to wait, but: %s; bothyd: %s", n, said, e.tail())
		}
		time.Sleep(500 * time.Millisecond) // each look takes from those who make them
	}
}

// TestPool gives containers machines that have waited: new ones and restarted
// ones, with a network and without. It has the host for itself: machines are
// made while nobody else has much to do.
func TestPool(t *testing.T) {
	theEngine(t)
	e := ownEngine(t, "--vm-memory", "64MiB", "--vm-pool", "2")
	e.bothy(t, "import", sampleImage("busybox"), "busybox")
	startMachine(t, e, "first")
	if said := waitingMachines(t, e); said != "2 for each size, none waiting" {
		t.Errorf("before there is a template: %s", said)
	}
	e.bothy(t, "rm", "-f", "first")
	awaitMachines(t, e, 2)
	t.Run("siblings", func(t *testing.T) { pooledSiblings(t, e) })
	t.Run("restart", func(t *testing.T) { pooledRestart(t, e) })
	t.Run("no network", func(t *testing.T) { pooledWithoutNetwork(t, e) })
	t.Run("machine killed", func(t *testing.T) { pooledMachineKilled(t, e) })
	t.Run("engine killed", func(t *testing.T) { engineKilledWithPool(t, e) })
}

// pooledSiblings draws from two machines what no two may have in common.
func pooledSiblings(t *testing.T, e *engine) {
	var each sync.WaitGroup
	drawn := make([][]string, 2)
	for i := range drawn {
		each.Go(func() {
			name := fmt.Sprint("pooled", i)
			if m := startMachine(t, e, name); m.Start != "pooled" || m.Reason != "" {
				t.Errorf("machine %d: %+v", i, m)
			}
			drawn[i] = strings.Fields(e.bothy(t, "exec", name, "sh", "-c", draw))
		})
	}
	each.Wait()
	for i, word := range drawn[0] {
		if i >= len(drawn[1]) || i < 6 && word == drawn[1][i] {
			t.Errorf("two machines drew %q", drawn)
			break
		}
	}
	for i, words := range drawn {
		if clock, err := strconv.ParseInt(words[len(words)-1], 10, 64); err != nil || time.Since(time.Unix(clock, 0)).Abs() > 30*time.Second {
			t.Errorf("machine %d has the time %s", i, words[len(words)-1])
		}
		e.bothy(t, "exec", fmt.Sprint("pooled", i), "ping", "-c", "1", "-w", "20", words[5]) // each has an address that works
	}
	e.bothy(t, "exec", "pooled0", "ping", "-c", "1", "-w", "20", drawn[1][5])
	e.bothy(t, "rm", "-f", "pooled0", "pooled1")
}

// pooledRestart starts a container a second time: what it has written is there.
func pooledRestart(t *testing.T, e *engine) {
	e.removeLater(t, "again")
	e.bothy(t, "create", "--name", "again", "--isolation", "vm", "busybox", "sleep", "1000")
	for _, want := range []string{"", "seen", "seen\nseen"} {
		awaitMachines(t, e, 2)
		e.bothy(t, "start", "again")
		if m := inspectMachine(t, e, "again"); m.Start != "pooled" {
			t.Errorf("its machine: %+v", m)
		}
		if got := e.bothy(t, "exec", "again", "sh", "-c", "cat /seen 2>/dev/null; echo seen >>/seen"); got != want {
			t.Errorf("it has written %q, want %q", got, want)
		}
		e.bothy(t, "stop", "-t", "0", "again")
	}
}

func pooledWithoutNetwork(t *testing.T, e *engine) {
	awaitMachines(t, e, 2)
	if m := startMachine(t, e, "alone", "--network", "none"); m.Start != "pooled" {
		t.Errorf("its machine: %+v", m)
	}
	if links := e.bothy(t, "exec", "alone", "ls", "/sys/class/net"); links != "lo" {
		t.Errorf("it has the links %q", links)
	}
	e.bothy(t, "rm", "-f", "alone")
}

// pooledMachineKilled kills a machine that waits: another one takes its place.
func pooledMachineKilled(t *testing.T, e *engine) {
	awaitMachines(t, e, 2)
	for _, qemu := range poolProcesses(t, e) {
		if err := syscall.Kill(qemu, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if got := e.bothy(t, "run", "--rm", "--isolation", "vm", "busybox", "echo", "hi"); got != "hi" {
		t.Errorf("the output is %q", got)
	}
	awaitMachines(t, e, 2)
}

// poolProcesses gives the process ids of the QEMUs that wait.
func poolProcesses(t *testing.T, e *engine) []int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(e.dir, "run", "pool", "*", "qemu.pid"))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has just been given away
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// engineKilledWithPool kills bothyd while machines wait: they end by themselves,
// and the next bothyd leaves no trace of them.
func engineKilledWithPool(t *testing.T, e *engine) {
	awaitMachines(t, e, 2)
	pids := poolProcesses(t, e)
	if len(pids) != 2 {
		t.Fatalf("the processes %v wait", pids)
	}
	if err := e.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		left, err := takeStock()
		if err != nil {
			t.Fatal(err)
		}
		var waiting []string
		for item := range left {
			if strings.Contains(item, filepath.Join(e.dir, "run", "pool")) {
				waiting = append(waiting, item)
			}
		}
		for _, pid := range pids {
			if syscall.Kill(pid, 0) == nil {
				waiting = append(waiting, fmt.Sprint("QEMU ", pid))
			}
		}
		if len(waiting) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %q", waiting)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	waitingMachines(t, e) // it answers when it has swept
	for _, dir := range []string{"run/pool", "data/vm/pool"} {
		if left, _ := os.ReadDir(filepath.Join(e.dir, dir)); len(left) > 0 {
			t.Errorf("%s has %v", dir, left)
		}
	}
}

// TestNoPool has no machine waiting.
func TestNoPool(t *testing.T) {
	t.Parallel()
	theEngine(t)
	e := ownEngine(t, "--vm-memory", "64MiB", "--vm-pool", "0")
	e.bothy(t, "import", sampleImage("busybox"), "busybox")
	startMachine(t, e, "first")
	awaitTemplate(t, e)
	if m := startMachine(t, e, "second"); m.Start != "restored" {
		t.Errorf("the second machine: %+v", m)
	}
	if said := waitingMachines(t, e); said != "off" || len(poolProcesses(t, e)) > 0 {
		t.Errorf("the pool: %s", said)
	}
}
