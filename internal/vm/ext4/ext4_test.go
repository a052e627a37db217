package ext4

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func create(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := Create(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// sizes have one group, a short last group, a last group that is too short to
// be made, one alone in its flex group, and many.
var sizes = []int64{
	MinSize, 100<<20 + 512, 128 << 20, 128<<20 + minLastGroup*blockSize, 128<<20 + (minLastGroup-1)*blockSize,
	1 << 30, 2<<30 + 16<<20, 10 << 30, 10<<30 + 123456789, 1 << 40, MaxSize,
}

func TestCreateIsCleanForE2fsck(t *testing.T) {
	t.Parallel()
	e2fsck, err := exec.LookPath("e2fsck")
	if err != nil {
		t.Skip(err)
	}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			path := create(t, size)
			out, err := exec.Command(e2fsck, "-fn", path).CombinedOutput()
			if err != nil || strings.Contains(string(out), "?") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestCreateIsSparse(t *testing.T) {
	t.Parallel()
	start := time.Now()
	path := create(t, 10<<30)
	t.Logf("10 GiB: %s, %d KiB", time.Since(start), allocated(t, path)>>10)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() != 10<<30 || st.Mode() != 0o600 {
		t.Errorf("size %d, mode %s", st.Size(), st.Mode())
	}
	if n := allocated(t, path); n > 1<<20 {
		t.Errorf("%d bytes are allocated", n)
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "disk")
	for _, size := range []int64{-1, 0, MinSize - 1, MaxSize + 1} {
		if err := Create(path, size); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%d: got %v", size, err)
		}
	}
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, MinSize); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if err := Create(filepath.Join(dir, "absent/disk"), MinSize); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestFormat shows what is written where. If it changes on purpose, the images
// have to be tried again with a kernel (TestMount).
func TestFormat(t *testing.T) {
	t.Parallel()
	id := identity{created: time.Unix(1_700_000_000, 0)}
	var lines []string
	for _, p := range format(newLayout(3<<30), id) {
		sum := sha256.Sum256(p.data)
		lines = append(lines, fmt.Sprintf("%d+%d: %d bytes, sha256 %s", p.block, p.offset, len(p.data), hex.EncodeToString(sum[:8])))
	}
	got := strings.Join(lines, "\n") + "\n"
	golden := filepath.Join("testdata", "3GiB.golden")
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs, got:\n%s", golden, got)
	}
}

func TestPiecesDoNotOverlap(t *testing.T) {
	t.Parallel()
	for _, size := range sizes {
		l := newLayout(size)
		pieces := format(l, identity{})
		sort.Slice(pieces, func(i, j int) bool {
			return pieces[i].block*blockSize+pieces[i].offset < pieces[j].block*blockSize+pieces[j].offset
		})
		end := int64(0)
		for _, p := range pieces {
			at := p.block*blockSize + p.offset
			if at < end {
				t.Errorf("size %d: the piece at %d overlaps one that ends at %d", size, at, end)
			}
			end = at + int64(len(p.data))
		}
		if end > size {
			t.Errorf("size %d: the last piece ends at %d", size, end)
		}
		for g := range l.groups {
			if d := l.group(g); d.used > d.blocks {
				t.Errorf("size %d: group %d holds %d of %d blocks", size, g, d.used, d.blocks)
			}
		}
	}
}

func TestClone(t *testing.T) {
	t.Parallel()
	src := create(t, 10<<30)
	dst := filepath.Join(t.TempDir(), "copy")
	if err := Clone(src, dst); err != nil {
		t.Fatal(err)
	}
	if got, want := allocated(t, dst), allocated(t, src); got > 2*want {
		t.Errorf("%d bytes are allocated, of the original %d", got, want)
	}
	checkSame(t, src, dst)
	if err := Clone(src, dst); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if err := Clone(src+"-absent", dst+"2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestCopySparse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, write := range map[string]func(*os.File) error{
		"empty":    func(*os.File) error { return nil },
		"hole":     func(f *os.File) error { return f.Truncate(1 << 20) },
		"data":     func(f *os.File) error { _, err := f.WriteString("data"); return err },
		"data end": func(f *os.File) error { _, err := f.WriteAt([]byte("data"), 1<<20); return err },
		"hole end": func(f *os.File) error {
			_, err := f.WriteAt([]byte("data"), 1<<20)
			return errors.Join(err, f.Truncate(3<<20+5))
		},
	} {
		from, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		to, err := os.Create(filepath.Join(dir, name+" copy"))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(write(from), copySparse(to, from), from.Close(), to.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		checkSame(t, from.Name(), to.Name())
	}
}

// checkSame fails if two files differ in size or in what of the first holds data.
func checkSame(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	y, err := os.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	defer y.Close()
	xs, _ := x.Stat()
	ys, _ := y.Stat()
	if xs.Size() != ys.Size() {
		t.Fatalf("%s has %d bytes, %s %d", a, xs.Size(), b, ys.Size())
	}
	for at := int64(0); ; {
		start, err := x.Seek(at, unix.SEEK_DATA)
		if err != nil {
			return
		}
		at, _ = x.Seek(start, unix.SEEK_HOLE)
		p, q := make([]byte, at-start), make([]byte, at-start)
		if _, err := x.ReadAt(p, start); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if _, err := y.ReadAt(q, start); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if !bytes.Equal(p, q) {
			t.Fatalf("%s and %s differ between %d and %d", a, b, start, at)
		}
	}
}
