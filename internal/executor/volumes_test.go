package executor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
)

func TestVolumesAreMadeBelowTheRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, outside := filepath.Join(dir, "root"), filepath.Join(dir, "outside")
	for _, d := range []string{filepath.Join(root, "etc"), outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(root, "etc", "link")); err != nil {
		t.Fatal(err)
	}
	if err := makeVolumes(root, `["/data/a,b","/etc","/../../up"]`); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"data/a,b", "up"} {
		if fi, err := os.Stat(filepath.Join(root, d)); err != nil || !fi.IsDir() {
			t.Errorf("%s: %v", d, err)
		}
	}
	if err := makeVolumes(root, `["/etc/link/x"]`); err == nil {
		if _, err := os.Stat(filepath.Join(outside, "x")); err == nil {
			t.Error("a volume was made outside of the root")
		}
	}
	if err := makeVolumes(root, `{`); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}
