package executor

import (
	"os"
	"path/filepath"
	"testing"

	erofs "github.com/erofs/go-erofs"
	"golang.org/x/sys/unix"
)

// TestLoop takes the way of kernels that cannot mount a file by itself.
func TestLoop(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("no loop devices here: ", err)
	}
	dir := t.TempDir()
	image, target := filepath.Join(dir, "image"), filepath.Join(dir, "target")
	out, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := erofs.Create(out)
	if err := w.Mkdir("/inside", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	loop, err := attachLoop(image)
	if err != nil {
		t.Fatal(err)
	}
	err = mountAt(loop.Name(), target, "erofs", unix.MS_RDONLY, "")
	loop.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(target, "inside")); err != nil {
		t.Error(err)
	}
	if err := unix.Unmount(target, 0); err != nil {
		t.Fatal(err)
	}
	// With its last user gone the device is free: it has no file any more.
	freed, err := os.Open(loop.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer freed.Close()
	if info, err := unix.IoctlLoopGetStatus64(int(freed.Fd())); err == nil && info.Flags&unix.LO_FLAGS_AUTOCLEAR == 0 {
		t.Errorf("%s stays: %+v", loop.Name(), info)
	}
}
