package vm_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"bothy/internal/shimapi"
	"bothy/internal/vm"
	"bothy/internal/vm/ext4"
)

func TestBootFails(t *testing.T) {
	p := findParts(t)
	for name, f := range map[string]struct {
		change func(*vm.Config)
		want   []string
	}{
		"slow guest": {
			func(c *vm.Config) { c.Machine.BootTimeout = 200 * time.Millisecond },
			[]string{"starting the virtual machine of test: the guest kernel did not answer within 200ms", shimapi.ConsoleLog},
		},
		"no kernel": {
			func(c *vm.Config) { c.Machine.Kernel = c.Rootfs[0].Source },
			[]string{"QEMU ended before the guest was up", "exit status 1", shimapi.ConsoleLog},
		},
		"kernel panic": {
			func(c *vm.Config) { c.Machine.Cmdline = "rdinit=/absent root=/dev/absent" },
			[]string{"QEMU ended before the guest was up", shimapi.ConsoleLog},
		},
		"no QEMU":     {func(c *vm.Config) { c.Machine.QEMU = "/absent/qemu" }, []string{"/absent/qemu", "no such file"}},
		"no disk":     {func(c *vm.Config) { c.Rootfs[0].Source = "/absent/disk" }, []string{"/absent/disk", "no such file"}},
		"placing":     {func(c *vm.Config) { c.Started = func(int) error { return errors.New("no place") } }, []string{"placing QEMU: no place"}},
		"no time":     {func(c *vm.Config) { c.Machine.BootTimeout = 0 }, []string{"no boot timeout"}},
		"accelerator": {func(c *vm.Config) { c.Machine.Accel = "" }, []string{"unknown accelerator"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := p.config(t, newMemStreams(""))
			c.Machine.Cmdline = ""
			f.change(&c)
			m, err := vm.Boot(context.Background(), c)
			if err == nil {
				m.Close()
				t.Fatal("no error")
			}
			for _, want := range f.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
			if _, err := os.Stat(filepath.Join(c.Bundle, vm.PidFile)); err == nil {
				t.Error("the pid file is left")
			}
		})
	}
}

func TestMachineDies(t *testing.T) {
	p := findParts(t)
	for name, f := range map[string]struct {
		end    func(*testing.T, *vm.Machine)
		script string
		status uint32
		want   string
	}{
		"killed": {
			func(t *testing.T, m *vm.Machine) {
				if err := unix.Kill(m.Pid(), unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			},
			"echo ready; sleep 1000", 137, "signal: killed",
		},
		"panic": {func(*testing.T, *vm.Machine) {}, "echo ready; echo c > /proc/sysrq-trigger; sleep 1000", 255, "its guest's kernel panicked (sysrq: Trigger a crash / Kernel panic - not syncing: sysrq triggered crash / "},
		"stands still": {
			func(t *testing.T, m *vm.Machine) {
				if err := unix.Kill(m.Pid(), unix.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				if _, err := m.Task().Kill(context.Background(), &taskAPI.KillRequest{ID: "test", Signal: 15}); !errdefs.IsDeadlineExceeded(err) {
					t.Errorf("a signal to a guest that stands still: %v", err)
				}
				if _, err := m.Task().Kill(context.Background(), &taskAPI.KillRequest{ID: "test", Signal: 9}); err != nil {
					t.Errorf("its end: %v", err)
				}
			},
			"echo ready; sleep 1000", 137, "its guest did not take a SIGKILL within 5s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 2*bootTimeout)
			defer cancel()
			streams := newMemStreams("")
			c := p.config(t, streams)
			m := boot(t, c)
			create(ctx, t, m, c, spec(f.script), "")
			if _, err := m.Task().Start(ctx, &taskAPI.StartRequest{ID: c.ID}); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			f.end(t, m)
			w, err := m.Task().Wait(ctx, &taskAPI.WaitRequest{ID: c.ID})
			if err != nil || w.ExitStatus != f.status {
				t.Errorf("wait: %v, %v", w, err)
			}
			t.Logf("the end was seen after %s", time.Since(begin))
			if err := m.Err(); err == nil || !strings.Contains(err.Error(), f.want) || !strings.Contains(err.Error(), shimapi.ConsoleLog) {
				t.Errorf("machine's error: %v", err)
			}
			if _, err := m.Task().Kill(ctx, &taskAPI.KillRequest{ID: c.ID, Signal: 9}); !errdefs.IsUnavailable(err) {
				t.Errorf("kill: %v", err)
			}
			if _, err := m.Task().Delete(ctx, &taskAPI.DeleteRequest{ID: c.ID}); err != nil {
				t.Errorf("delete: %v", err)
			}
			select {
			case <-streams.closed:
			case <-ctx.Done():
				t.Error("the output was not closed")
			}
		})
	}
}

// TestHostDiskFull lets a guest write more than the host's disk takes: it has to
// see an error, not to stand still.
func TestHostDiskFull(t *testing.T) {
	p := findParts(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*bootTimeout)
	defer cancel()
	c := p.config(t, newMemStreams(""))
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=32m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
	for _, m := range c.Rootfs {
		if m.Type == "ext4" {
			m.Source = filepath.Join(small, "rw.ext4")
			if err := ext4.Create(m.Source, 1<<30); err != nil {
				t.Fatal(err)
			}
		}
	}
	m := boot(t, c)
	create(ctx, t, m, c, spec("dd if=/dev/zero of=/big bs=1M count=64 conv=fsync && exit 1; exit 7"), "")
	if _, err := m.Task().Start(ctx, &taskAPI.StartRequest{ID: c.ID}); err != nil {
		t.Fatal(err)
	}
	if w, err := m.Task().Wait(ctx, &taskAPI.WaitRequest{ID: c.ID}); err != nil || w.ExitStatus != 7 {
		t.Errorf("wait: %v, %v", w, err)
	}
}

func TestGuestPowersOffWhenTold(t *testing.T) {
	p := findParts(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*bootTimeout)
	defer cancel()
	m := boot(t, p.config(t, newMemStreams("")))
	if _, err := m.Task().Shutdown(ctx, &taskAPI.ShutdownRequest{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.Done():
	case <-ctx.Done():
		t.Fatal("the machine runs on")
	}
	if err := m.Err(); err != nil {
		t.Error(err)
	}
}
