package kernel

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"bothy/internal/vm/kernel/kerneltest"
)

func TestFindTakesTheNewest(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, version := range []string{"6.1.0-9-amd64", "6.1.0-56-amd64", "5.10.0-99-amd64"} {
		kerneltest.Write(t, root, version, kerneltest.Required())
	}
	k, err := Find(Options{Roots: []string{root}})
	if err != nil {
		t.Fatal(err)
	}
	want := Kernel{
		Version:    "6.1.0-56-amd64",
		Image:      filepath.Join(root, "boot/vmlinuz-6.1.0-56-amd64"),
		ModulesDir: filepath.Join(root, "lib/modules/6.1.0-56-amd64"),
	}
	if k != want {
		t.Errorf("got %+v, want %+v", k, want)
	}
}

func TestFindPassesOverWhatLacksAModule(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	lacking := kerneltest.Required()
	delete(lacking, "kernel/fs/erofs/erofs.ko")
	kerneltest.Write(t, root, "6.2.0", lacking)
	kerneltest.WriteFile(t, filepath.Join(root, "boot/vmlinuz-6.3.0"), kerneltest.Image("6.3.0"))

	_, err := Find(Options{Roots: []string{root}})
	if !errdefs.IsUnavailable(err) {
		t.Fatalf("got %v, want an error of the kind unavailable", err)
	}
	for _, want := range []string{"vmlinuz-6.2.0: it has no erofs", "vmlinuz-6.3.0: lib/modules/6.3.0 is missing", "linux-image-cloud-amd64"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}

	kerneltest.Write(t, root, "6.1.0", kerneltest.Required())
	k, err := Find(Options{Roots: []string{root}})
	if err != nil || k.Version != "6.1.0" {
		t.Errorf("got %v, %v", k, err)
	}
}

func TestFindTakesRootsInOrder(t *testing.T) {
	t.Parallel()
	first, second := t.TempDir(), t.TempDir()
	kerneltest.Write(t, second, "6.2.0", kerneltest.Required())
	k, err := Find(Options{Roots: []string{first, second}})
	if err != nil || k.Version != "6.2.0" {
		t.Fatalf("got %v, %v", k, err)
	}
	kerneltest.Write(t, first, "6.1.0", kerneltest.Required())
	k, err = Find(Options{Roots: []string{first, second}})
	if err != nil || k.Version != "6.1.0" {
		t.Errorf("got %v, %v", k, err)
	}
}

func TestFindWithNothing(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	_, err := Find(Options{Roots: []string{root}})
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), filepath.Join(root, "boot")) {
		t.Errorf("got %v", err)
	}
}

func TestFindNamedImage(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	kerneltest.Write(t, root, "6.1.0-x", kerneltest.Required())
	image := filepath.Join(root, "boot/mine")
	kerneltest.WriteFile(t, image, kerneltest.Image("6.1.0-x"))

	k, err := Find(Options{Image: image, Roots: []string{t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	if k.Version != "6.1.0-x" || k.Image != image || k.ModulesDir != filepath.Join(root, "lib/modules/6.1.0-x") {
		t.Errorf("got %+v", k)
	}

	text := filepath.Join(root, "boot/text")
	kerneltest.WriteFile(t, text, []byte("no kernel"))
	empty := filepath.Join(root, "boot/vmlinuz-6.1.0-x.empty")
	kerneltest.WriteFile(t, empty, nil)
	for _, image := range []string{text, empty, filepath.Join(root, "boot/absent")} {
		if _, err := Find(Options{Image: image}); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), image) {
			t.Errorf("%s: got %v", image, err)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	t.Parallel()
	ascending := []string{
		"", "5.10.0-99-amd64", "6.1.0-9-amd64", "6.1.0-56-amd64", "6.1.0-56-cloud-amd64", "6.1.0-100",
		"6.2-rc1", "6.2-rc10", "6.2", "6.2.1", "6.10.0",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			got := compareVersions(a, b)
			if got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("compareVersions(%q, %q) = %d", a, b, got)
			}
		}
	}
}

func FuzzHeaderVersion(f *testing.F) {
	f.Add(kerneltest.Image("6.1.0-56-cloud-amd64"))
	f.Add([]byte("HdrS"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := headerVersion(b)
		if ok && (v == "" || strings.Contains(v, "/") || filepath.Base(v) != v) {
			t.Errorf("%q is not a directory's name", v)
		}
	})
}

// TestRealKernel runs where this machine, or the environment, has a kernel.
func TestRealKernel(t *testing.T) {
	t.Parallel()
	opts := Options{}
	if root := os.Getenv("BOTHY_TEST_KERNEL_ROOT"); root != "" {
		opts.Roots = []string{root}
	}
	k, err := Find(opts)
	if errdefs.IsUnavailable(err) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if v, err := imageVersion(k.Image); err != nil || v != k.Version {
		t.Errorf("the header says %q, %v; the name %q", v, err, k.Version)
	}
	modules, err := k.Modules()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		t.Logf("%s: %d bytes", m.Name, len(m.Data))
	}
}
