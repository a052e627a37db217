package accel

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"bothy/internal/vm/kernel"
)

// TestMain makes this program a QEMU of any behaviour, when it is started
// through a link whose name says which.
func TestMain(m *testing.M) {
	if behaviour, ok := strings.CutPrefix(filepath.Base(os.Args[0]), "fake-"); ok {
		fakeQEMU(behaviour)
		return
	}
	os.Exit(m.Run())
}

func fakeQEMU(behaviour string) {
	// The tests ask whether this process is gone.
	_ = os.WriteFile(os.Args[0]+".pid", []byte(strconv.Itoa(os.Getpid())), 0o644)
	if runs, err := os.OpenFile(os.Args[0]+".runs", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
		fmt.Fprintln(runs, "run")
		runs.Close()
	}
	switch behaviour {
	case "works":
		fmt.Print("bothy: gue")
		fmt.Print("st is up\r\n")
	case "internal":
		fmt.Fprintln(os.Stderr, "KVM internal error. Suberror: 1\nextra data[0]: 0x0\nEIP=0000fff0")
	case "silent":
	case "warns":
		fmt.Fprintln(os.Stderr, "warning: something")
	case "fails":
		fmt.Fprintln(os.Stderr, "Could not access KVM kernel module")
		os.Exit(1)
	case "ends":
		return
	}
	time.Sleep(time.Hour) // until it is killed
}

type fixture struct {
	prober prober
	opts   Options
}

func newFixture(t *testing.T, behaviour string) fixture {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	qemu := filepath.Join(dir, "fake-"+behaviour)
	if err := os.Symlink(self, qemu); err != nil {
		t.Fatal(err)
	}
	image, device := filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "kvm")
	for _, path := range []string{image, device} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return fixture{
		prober: prober{device: device, timeout: 20 * time.Second},
		opts:   Options{QEMU: qemu, Kernel: kernel.Kernel{Image: image}, CacheFile: filepath.Join(dir, "state/accel.json")},
	}
}

func (f fixture) probe(t *testing.T) Result {
	t.Helper()
	r, err := f.prober.probe(context.Background(), f.opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f fixture) runs() int {
	data, _ := os.ReadFile(f.opts.QEMU + ".runs")
	return bytes.Count(data, []byte("\n"))
}

// checkGone fails if the fake QEMU still runs.
func (f fixture) checkGone(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(f.opts.QEMU + ".pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for behaviour, want := range map[string]Result{
		"works":    {Accel: KVM},
		"internal": {Accel: TCG, Reason: `KVM opens, but a guest kernel did not start under it: QEMU said "KVM internal error. Suberror: 1"`},
		"fails":    {Accel: TCG, Reason: `KVM opens, but QEMU failed under it (exit status 1): QEMU said "Could not access KVM kernel module"`},
		"ends":     {Accel: TCG, Reason: `KVM opens, but a guest kernel stopped under it`},
	} {
		t.Run(behaviour, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, behaviour)
			want.QEMU = f.opts.QEMU
			if got := f.probe(t); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			f.checkGone(t)
		})
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	for behaviour, reason := range map[string]string{
		"silent": "KVM opens, but a guest kernel did not start under it within 1s",
		"warns":  `KVM opens, but a guest kernel did not start under it within 1s: QEMU said "warning: something"`,
	} {
		t.Run(behaviour, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, behaviour)
			f.prober.timeout = time.Second
			if got := f.probe(t); got.Accel != TCG || got.Reason != reason {
				t.Errorf("got %+v", got)
			}
			f.checkGone(t)
		})
	}
}

func TestAnswerIsRemembered(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "internal")
	first := f.probe(t)
	if again := f.probe(t); again != first || f.runs() != 1 {
		t.Errorf("got %+v after %d runs", again, f.runs())
	}
	if err := os.WriteFile(f.opts.Kernel.Image, []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	if f.probe(t); f.runs() != 2 {
		t.Errorf("a new kernel was probed %d times", f.runs()-1)
	}
	if err := os.WriteFile(f.opts.CacheFile, []byte(`{"version": 1, "accel": `), 0o644); err != nil {
		t.Fatal(err)
	}
	if f.probe(t); f.runs() != 3 {
		t.Error("a broken file was believed")
	}
}

func TestNoDevice(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "works")
	f.prober.device += "-absent"
	want := Result{QEMU: f.opts.QEMU, Accel: TCG, Reason: f.prober.device + " is missing"}
	if got := f.probe(t); got != want || f.runs() != 0 {
		t.Errorf("got %+v after %d runs", got, f.runs())
	}
}

func TestNoQEMU(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "works")
	f.opts.QEMU += "-absent"
	_, err := f.prober.probe(context.Background(), f.opts)
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "qemu-system-x86") {
		t.Errorf("got %v", err)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "silent")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := f.prober.probe(ctx, f.opts)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(f.opts.CacheFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an unfinished probe was remembered: %v", err)
	}
}

func TestGuestProgram(t *testing.T) {
	t.Parallel()
	program := guestProgram()
	if _, err := elf.NewFile(bytes.NewReader(program)); err != nil {
		t.Fatal(err)
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("the program is for amd64")
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	out := &watcher{words: []string{marker}, found: cancel}
	cmd.Stdout = out
	for {
		err := cmd.Start()
		if errors.Is(err, unix.ETXTBSY) { // another test is forking
			cmd = exec.CommandContext(ctx, path)
			cmd.Stdout = out
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	_ = cmd.Wait() // killed
	if out.hit != marker {
		t.Errorf("it printed %q", out.kept)
	}
}

func FuzzWatcher(f *testing.F) {
	f.Add([]byte("KVM internal error. Suberror: 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := &watcher{words: stopped, found: func() {}}
		for chunk := range bytes.SplitAfterSeq(b, []byte("\n")) {
			if n, err := w.Write(chunk); n != len(chunk) || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
		}
		if len(w.kept) > maxOutput || strings.Contains(w.last(), "\n") {
			t.Errorf("kept %d bytes, last %q", len(w.kept), w.last())
		}
	})
}

// realKernel returns this machine's guest kernel and QEMU, or skips.
func realKernel(t *testing.T) (k kernel.Kernel, qemu string) {
	t.Helper()
	opts := kernel.Options{}
	if root := os.Getenv("BOTHY_TEST_KERNEL_ROOT"); root != "" {
		opts.Roots = []string{root}
	}
	k, err := kernel.Find(opts)
	if err != nil {
		t.Skip(err)
	}
	qemu, err = findQEMU("")
	if err != nil {
		t.Skip(err)
	}
	return k, qemu
}

// TestReal asks this machine.
func TestReal(t *testing.T) {
	t.Parallel()
	k, _ := realKernel(t)
	start := time.Now()
	r, err := Probe(context.Background(), Options{Kernel: k})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, after %s", r, time.Since(start))
	if r.Accel == TCG && r.Reason == "" {
		t.Error("no reason")
	}
}

// TestGuestBoots shows that the probe's guest works, with or without KVM.
func TestGuestBoots(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it boots a kernel under emulation")
	}
	k, qemu := realKernel(t)
	reason, err := prober{timeout: 2 * time.Minute}.boot(context.Background(), qemu, k.Image, TCG)
	if err != nil || reason != "" {
		t.Errorf("got %q, %v", reason, err)
	}
}

// Probing as root what machines then may not open would make each of them fail.
func TestDeviceOfRootAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode, gid uint32
		want      bool
	}{{0o600, 0, false}, {0o660, 0, false}, {0o666, 0, true}, {0o660, 104, true}, {0o640, 104, false}} {
		if got := forMachines(&unix.Stat_t{Mode: unix.S_IFCHR | c.mode, Gid: c.gid}); got != c.want {
			t.Errorf("mode %o, group %d: %t", c.mode, c.gid, got)
		}
	}
	f := newFixture(t, "works")
	if err := os.Chmod(f.prober.device, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := f.prober.probe(t.Context(), f.opts)
	if err != nil || r.Accel != TCG || !strings.Contains(r.Reason, "for root alone") {
		t.Errorf("%+v, %v", r, err)
	}
}
