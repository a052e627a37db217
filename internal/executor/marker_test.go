package executor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
)

func TestMarker(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for range 2 { // a second start finds it
		if err := makeMarker(root, ".mark"); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Lstat(filepath.Join(root, ".mark")); err != nil || !info.Mode().IsRegular() || info.Size() != 0 {
		t.Fatalf("the marker: %v, %v", info, err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Symlink(outside, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := makeMarker(root, "link"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(outside); err == nil {
		t.Error("a link led outside of the root")
	}
	for _, name := range []string{"..", ".", "a/b", "/x", "../x"} {
		if err := makeMarker(root, name); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
