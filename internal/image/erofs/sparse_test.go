package erofs

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// sparseTar has GNU tar pack a file with holes, as only it does.
func sparseTar(t *testing.T, format string, size int64) []byte {
	t.Helper()
	tar, err := exec.LookPath("tar")
	if err != nil {
		t.Skip("there is no tar program")
	}
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.WriteAt([]byte("in the middle"), 1<<20)
	if err := errors.Join(werr, f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plain"), []byte("after it"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tar, "-S", "--format="+format, "-C", dir, "-c", "holes", "plain").Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSparse(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"gnu", "pax"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			raw := sparseTar(t, format, 4<<20+5)
			if len(raw) > 1<<20 {
				t.Skipf("this file system keeps no holes: the tar has %d bytes", len(raw))
			}
			path, err := convert(t, raw, nil)
			if err != nil {
				t.Fatal(err)
			}
			img := open(t, path)
			want := make([]byte, 4<<20+5)
			copy(want[1<<20:], "in the middle")
			if got := content(t, img, "holes"); !bytes.Equal([]byte(got), want) {
				t.Errorf("the sparse file differs (%d bytes)", len(got))
			}
			if got := content(t, img, "plain"); got != "after it" {
				t.Errorf("the file after it: %q", got)
			}
		})
	}
}

func TestSparseIsBounded(t *testing.T) {
	t.Parallel()
	_, err := convert(t, sparseTar(t, "pax", maxSparse+1), nil)
	var refused *RefusedError
	if !errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
}
