package ext4

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMount lets this kernel use images. It calls mount(8), which sets the loop
// device up and lets it go; the product never does that.
func TestMount(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("no loop devices: ", err)
	}
	e2fsck, err := exec.LookPath("e2fsck")
	if err != nil {
		t.Skip(err)
	}
	for _, size := range []int64{MinSize, 10 << 30} {
		path := create(t, size)
		dir := t.TempDir()
		start := time.Now()
		if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop", path, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // should the test fail
		t.Logf("mounted after %s", time.Since(start))
		use(t, dir)
		if err := unix.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(e2fsck, "-fn", path).CombinedOutput(); err != nil || strings.Contains(string(out), "?") {
			t.Errorf("after use: %v\n%s", err, out)
		}
		t.Logf("%d KiB are allocated after use", allocated(t, path)>>10)
	}
}

// use fills a directory with many files, and one that spans groups.
func use(t *testing.T, dir string) {
	t.Helper()
	for i := range 300 {
		sub := filepath.Join(dir, strings.Repeat("d", i%20+1))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, strings.Repeat("f", i%200+1)), bytes.Repeat([]byte("x"), 5000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "large"), bytes.Repeat([]byte("y"), 20<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
}
