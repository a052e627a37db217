package engine

import (
	"bytes"
	"compress/gzip"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bothy/internal/vm/accel"
	"bothy/internal/vm/kernel"
	"bothy/internal/vm/kernel/kerneltest"
)

// bootable makes a kernel image that can be booted uncompressed if pvh is set.
func bootable(t *testing.T, pvh bool) kernel.Kernel {
	t.Helper()
	elf := kerneltest.Bootable([]byte("code"), pvh)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(elf); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	k := kernel.Kernel{Version: "6.1.0", Image: filepath.Join(t.TempDir(), "vmlinuz-6.1.0")}
	kerneltest.WriteFile(t, k.Image, kerneltest.ImageOf(k.Version, packed.Bytes(), len(elf), true))
	return k
}

func TestUncompressedKernelIsForEmulation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		accel     string
		pvh       bool
		copied    bool
		saidInLog bool
	}{
		"emulation":                {accel: "tcg", pvh: true, copied: true},
		"emulation, another image": {accel: "tcg", saidInLog: true},
		"KVM":                      {accel: "kvm", pvh: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			dir := t.TempDir()
			m := newMachines(Options{DataRoot: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
			p := machineParts{kernel: bootable(t, c.pvh), accel: accel.Result{Accel: c.accel}}
			p.image = m.image(t.Context(), p)
			if copied := filepath.Dir(p.image) == filepath.Join(dir, "vm"); copied != c.copied || !copied && p.image != p.kernel.Image {
				t.Errorf("it boots %s", p.image)
			}
			m.refreshImage(t.Context(), &p)
			if lines := strings.Count(log.String(), "\n"); lines > 1 || lines == 1 != c.saidInLog {
				t.Errorf("the log says %q", log.String())
			}
		})
	}
}

func TestUncompressedKernelIsMadeAnew(t *testing.T) {
	t.Parallel()
	m := newMachines(Options{DataRoot: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	p := machineParts{kernel: bootable(t, true), accel: accel.Result{Accel: "tcg"}}
	p.image = m.image(t.Context(), p)
	if err := os.Remove(p.image); err != nil {
		t.Fatal(err)
	}
	m.refreshImage(t.Context(), &p)
	if _, err := os.Stat(p.image); err != nil {
		t.Error(err)
	}

	kerneltest.WriteFile(t, p.kernel.Image, []byte("replaced by what is no kernel"))
	m.refreshImage(t.Context(), &p)
	if p.image != p.kernel.Image {
		t.Errorf("it boots %s", p.image)
	}
}
