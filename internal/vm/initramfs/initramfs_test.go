package initramfs

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"bothy/internal/vm/kernel"
	"bothy/internal/vm/kernel/kerneltest"
)

// member is an entry of a cpio archive as a reader sees it.
type member struct {
	mode         uint64
	major, minor uint64
	data         string
}

// unpack reads a newc archive.
func unpack(t *testing.T, b []byte) (map[string]member, []string) {
	t.Helper()
	members := map[string]member{}
	var order []string
	at := 0
	field := func(i int) uint64 {
		from := at + 6 + 8*i
		v, err := strconv.ParseUint(string(b[from:from+8]), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	align := func(n int) int { return (n + 3) &^ 3 }
	for {
		if string(b[at:at+6]) != "070701" {
			t.Fatalf("no header at %d", at)
		}
		size, nameSize := int(field(6)), int(field(11))
		m := member{mode: field(1), major: field(9), minor: field(10)}
		if mtime := field(5); mtime != 0 {
			t.Errorf("a file's time is %d", mtime)
		}
		name := string(b[at+110 : at+110+nameSize-1])
		data := align(at + 110 + nameSize)
		m.data = string(b[data : data+size])
		at = align(data + size)
		if name == "TRAILER!!!" {
			break
		}
		members[name] = m
		order = append(order, name)
	}
	if at != len(b) {
		t.Errorf("%d bytes behind the end", len(b)-at)
	}
	return members, order
}

func TestWrite(t *testing.T) {
	t.Parallel()
	modules := []kernel.Module{{Name: "virtio", Data: []byte("a")}, {Name: "virtio_ring", Data: []byte("bcd")}}
	var b bytes.Buffer
	if err := write(&b, modules, []byte("program")); err != nil {
		t.Fatal(err)
	}
	members, order := unpack(t, b.Bytes())
	for name, want := range map[string]member{
		"dev":                    {mode: 0o040755},
		"tmp":                    {mode: 0o040777},
		"dev/console":            {mode: 0o020600, major: 5, minor: 1},
		"dev/null":               {mode: 0o020666, major: 1, minor: 3},
		"modules/virtio.ko":      {mode: 0o100644, data: "a"},
		"modules/virtio_ring.ko": {mode: 0o100644, data: "bcd"},
		"modules/order":          {mode: 0o100644, data: "virtio.ko\nvirtio_ring.ko\n"},
		"init":                   {mode: 0o100755, data: "program"},
	} {
		if got := members[name]; got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	seen := map[string]bool{".": true}
	for _, name := range order {
		if !seen[filepath.Dir(name)] {
			t.Errorf("%s comes before its directory", name)
		}
		seen[name] = true
	}
}

var errFull = errors.New("no space")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestWriteReportsErrors(t *testing.T) {
	t.Parallel()
	if err := write(fullDisk{}, nil, nil); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}

// testInput makes a kernel and a program.
func testInput(t *testing.T) (kernel.Kernel, string) {
	t.Helper()
	root := t.TempDir()
	kerneltest.Write(t, root, "6.1.0", kerneltest.Required())
	k, err := kernel.Find(kernel.Options{Roots: []string{root}})
	if err != nil {
		t.Fatal(err)
	}
	shim := filepath.Join(root, "shim")
	kerneltest.WriteFile(t, shim, []byte("first"))
	return k, shim
}

func cached(t *testing.T, dir string, k kernel.Kernel, shim string) string {
	t.Helper()
	path, err := Cached(context.Background(), dir, k, shim)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCached(t *testing.T) {
	t.Parallel()
	k, shim := testInput(t)
	dir := filepath.Join(t.TempDir(), "a/b")
	first := cached(t, dir, k, shim)
	before, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	if before.Mode() != 0o644 {
		t.Errorf("QEMU's user cannot read it: %s", before.Mode())
	}
	if again := cached(t, dir, k, shim); again != first {
		t.Errorf("the same input gave %s and %s", first, again)
	}
	if after, err := os.Stat(first); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was built again: %v", err)
	}

	kerneltest.WriteFile(t, shim, []byte("other")) // of the same length
	second := cached(t, dir, k, shim)
	if second == first {
		t.Error("a new program gave the old initramfs")
	}
	data, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if members, _ := unpack(t, data); members["init"].data != "other" {
		t.Errorf("/init is %q", members["init"].data)
	}
}

func TestCachedLeavesNothingHalfMade(t *testing.T) {
	t.Parallel()
	k, shim := testInput(t)
	dir := t.TempDir()
	if _, err := Cached(context.Background(), dir, k, shim+"-absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	kerneltest.WriteFile(t, filepath.Join(k.ModulesDir, "kernel/fs/erofs/erofs.ko"), []byte("broken"))
	if _, err := Cached(context.Background(), dir, k, shim); err == nil || !strings.Contains(err.Error(), "erofs.ko") {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
