package kernel

import (
	"bytes"
	"compress/gzip"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"bothy/internal/vm/kernel/kerneltest"
)

func testKernel(t *testing.T, modules map[string]string) Kernel {
	t.Helper()
	root := t.TempDir()
	kerneltest.Write(t, root, "6.1.0", modules)
	return Kernel{Version: "6.1.0", Image: filepath.Join(root, "boot/vmlinuz-6.1.0"), ModulesDir: filepath.Join(root, "lib/modules/6.1.0")}
}

func names(modules []Module) []string {
	var names []string
	for _, m := range modules {
		names = append(names, m.Name)
	}
	return names
}

func TestModulesOrder(t *testing.T) {
	t.Parallel()
	modules, err := testKernel(t, kerneltest.Required()).Modules()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"virtio", "virtio_ring", "virtio_pci", "virtio_console", "virtio_net", "virtio_blk",
		"libcrc32c", "erofs", "overlay",
	}
	if got := names(modules); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestModulesRefusesWhatCannotBeLoaded(t *testing.T) {
	t.Parallel()
	missing := kerneltest.Required()
	delete(missing, "kernel/lib/libcrc32c.ko")
	circle := kerneltest.Required()
	circle["kernel/lib/libcrc32c.ko"] = "erofs"
	for want, modules := range map[string]map[string]string{
		"erofs: the module libcrc32c is missing": missing,
		"depends on itself":                      circle,
	} {
		if _, err := testKernel(t, modules).Modules(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestModulesAreDecompressed(t *testing.T) {
	t.Parallel()
	plain := kerneltest.Module("")
	for ext, pack := range map[string]func(io.Writer) (io.WriteCloser, error){
		".gz":  func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		".xz":  func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
		".zst": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
	} {
		t.Run(ext, func(t *testing.T) {
			t.Parallel()
			modules := kerneltest.Required()
			delete(modules, "kernel/fs/overlayfs/overlay.ko")
			k := testKernel(t, modules)
			var packed bytes.Buffer
			w, err := pack(&packed)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(plain); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(k.ModulesDir, "kernel/fs/overlayfs/overlay.ko"+ext)
			kerneltest.WriteFile(t, path, packed.Bytes())
			got, err := k.Modules()
			if err != nil {
				t.Fatal(err)
			}
			i := slices.Index(names(got), "overlay")
			if i < 0 || !bytes.Equal(got[i].Data, plain) {
				t.Errorf("overlay is not what was compressed: %v", names(got))
			}
			kerneltest.WriteFile(t, path, packed.Bytes()[:packed.Len()/2])
			if _, err := k.Modules(); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("a cut file: got %v", err)
			}
		})
	}
}

func FuzzDependencies(f *testing.F) {
	f.Add(kerneltest.Module("virtio,virtio-ring"))
	f.Fuzz(func(t *testing.T, b []byte) {
		names, _ := dependencies(b)
		if slices.Contains(names, "") {
			t.Error("a module without a name")
		}
	})
}

func FuzzBuiltin(f *testing.F) {
	f.Add([]byte("kernel/fs/ext4/ext4.ko\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for name := range parseBuiltin(b) {
			if name == "" || strings.ContainsAny(name, "/-") {
				t.Errorf("%q is not a module's name", name)
			}
		}
	})
}
