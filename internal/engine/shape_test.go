package engine

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"bothy/internal/vm/accel"
	"bothy/internal/vm/kernel"
)

// shapeParts are parts whose files are there; its QEMU is a script.
func shapeParts(t *testing.T) machineParts {
	t.Helper()
	dir := t.TempDir()
	p := machineParts{
		kernel: kernel.Kernel{Version: "6.1", Image: filepath.Join(dir, "vmlinuz")}, image: filepath.Join(dir, "vmlinux"),
		initramfs: filepath.Join(dir, "initramfs"), accel: accel.Result{QEMU: filepath.Join(dir, "qemu"), Accel: accel.TCG}, maxMemory: gibibyte,
	}
	for path, text := range map[string]string{
		p.kernel.Image: "packed", p.image: "kernel", p.initramfs: "files", p.accel.QEMU: "#!/bin/sh\necho emulator 7\n",
	} {
		must(t, os.WriteFile(path, []byte(text), 0o755))
	}
	return p
}

func TestShapeChangesWithItsParts(t *testing.T) {
	t.Parallel()
	p := shapeParts(t)
	first, err := lookAtShape(t.Context(), p, hostShape{})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(p *machineParts) error{
		"kernel":    func(p *machineParts) error { return os.WriteFile(p.image, []byte("other"), 0o600) },
		"initramfs": func(p *machineParts) error { return os.WriteFile(p.initramfs, []byte("other"), 0o600) },
		"QEMU": func(p *machineParts) error {
			return os.WriteFile(p.accel.QEMU, []byte("#!/bin/sh\necho emulator 8\n"), 0o755)
		},
		"accelerator": func(p *machineParts) error { p.accel.Accel = accel.KVM; return nil },
		"memory":      func(p *machineParts) error { p.maxMemory *= 2; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := shapeParts(t)
			must(t, change(&other))
			got, err := lookAtShape(t.Context(), other, first)
			if err != nil || got.host == first.host {
				t.Errorf("the shape stays, %v", err)
			}
		})
	}
}

func TestShapeIsLookedAtOnce(t *testing.T) {
	t.Parallel()
	p := shapeParts(t)
	first, err := lookAtShape(t.Context(), p, hostShape{})
	if err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-time.Hour) // as the cache does at each use
	must(t, os.Chtimes(p.image, then, then))
	must(t, os.Chtimes(p.initramfs, then, then))
	first.host.Kernel = "as it was found"
	again, err := lookAtShape(t.Context(), p, first)
	if err != nil || again != first {
		t.Errorf("it was looked at again: %+v, %v", again, err)
	}
	must(t, os.Remove(p.initramfs))
	if _, err := lookAtShape(t.Context(), p, first); err == nil {
		t.Error("without an initramfs there is a shape")
	}
}

func TestProcessorIgnoresWhatChanges(t *testing.T) {
	t.Parallel()
	of := func(text string) string {
		path := filepath.Join(t.TempDir(), "cpuinfo")
		must(t, os.WriteFile(path, []byte(text), 0o600))
		d, err := processor(path)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	const text = "model name\t: Fast\nflags\t\t: fpu sse\ncpu MHz\t\t: 2000\n\nmodel name\t: Fast\n"
	first := of(text)
	if of("model name\t: Fast\nflags\t\t: fpu sse\ncpu MHz\t\t: 3000\n\n") != first {
		t.Error("its present speed counts")
	}
	if of("model name\t: Fast\nflags\t\t: fpu\ncpu MHz\t\t: 2000\n\n") == first {
		t.Error("its features do not count")
	}
}

func TestSameClock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b int
		same bool
	}{{2_000_000, 2_000_900, true}, {2_000_000, 2_100_000, false}, {0, 5, true}, {5, 0, true}} {
		if sameClock(c.a, c.b) != c.same {
			t.Errorf("%d and %d", c.a, c.b)
		}
	}
}
