package vm_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"golang.org/x/sys/unix"

	"bothy/internal/vm"
)

// TestMemoryComesBack has a guest use memory and free it again.
func TestMemoryComesBack(t *testing.T) {
	p := findParts(t)
	p.memory = 768 << 20
	ctx, cancel := context.WithTimeout(context.Background(), 2*bootTimeout)
	defer cancel()
	t.Run("booted", func(t *testing.T) {
		s := newMemStreams("")
		c := p.config(t, s)
		comesBack(ctx, t, boot(t, c), c, s)
	})
	t.Run("restored", func(t *testing.T) {
		if err := vm.CanGiveBack(); err != nil {
			t.Skip(err)
		}
		k := makeTemplate(ctx, t, p)
		for _, own := range []bool{false, true} {
			s := newMemStreams("")
			c := k.machine(t, s)
			c.Machine.OwnMemory = own
			begin := time.Now()
			m := boot(t, c)
			t.Logf("restored after %s, memory of its own: %t", time.Since(begin).Round(time.Millisecond), own)
			if r := m.Report(); !r.Restored {
				t.Fatal(r.Reason)
			}
			comesBack(ctx, t, m, c, s)
			m.Close()
		}
	})
}

// comesBack uses a good part of what the machine has, and waits until the host has nine
// tenths of it again.
func comesBack(ctx context.Context, t *testing.T, m *vm.Machine, c vm.Config, s *memStreams) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	size := c.Machine.Memory * 2 / 5 // the file system that it goes to takes half
	script := fmt.Sprintf("trap 'dd if=/dev/zero of=/dev/x bs=1M count=%d && echo full' USR1; trap 'rm /dev/x; echo free' USR2; echo idle; while :; do sleep 1; done", size>>20)
	create(ctx, t, m, c, spec(script), "")
	if _, err := m.Task().Start(ctx, &taskAPI.StartRequest{ID: c.ID}); err != nil {
		t.Fatal(err)
	}
	step := func(signal unix.Signal, text string) int64 {
		if signal != 0 {
			if _, err := m.Task().Kill(ctx, &taskAPI.KillRequest{ID: c.ID, Signal: uint32(signal)}); err != nil {
				t.Fatal(err)
			}
		}
		awaitOutput(ctx, t, s, text)
		return private(t, m)
	}
	idle, full := step(0, "idle"), step(unix.SIGUSR1, "full")
	step(unix.SIGUSR2, "free")
	if full < idle+size*8/10 {
		t.Errorf("%d MiB idle, %d with %d in use", idle>>20, full>>20, size>>20)
	}
	begin := time.Now()
	for private(t, m) > max(idle, full-size)+size/10 {
		if ctx.Err() != nil {
			t.Fatalf("%d MiB idle, %d with %d in use, and still %d", idle>>20, full>>20, size>>20, private(t, m)>>20)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%d MiB idle, %d with %d in use, %d after %s", idle>>20, full>>20, size>>20, private(t, m)>>20, time.Since(begin).Round(100*time.Millisecond))
}

func awaitOutput(ctx context.Context, t *testing.T, s *memStreams, text string) {
	t.Helper()
	for !strings.Contains(s.text("out"), text) {
		if ctx.Err() != nil {
			t.Fatalf("output %q, errors %q", s.text("out"), s.text("err"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// private is the memory in bytes that QEMU has for itself.
func private(t *testing.T, m *vm.Machine) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", m.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for line := range strings.Lines(string(data)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "Private_Dirty: %d", &kib); n == 1 {
			total += kib << 10
		}
	}
	return total
}
