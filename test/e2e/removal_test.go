package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestEngineKilledRightAfterARemoval kills bothyd when `run --rm` has just
// returned, which is while the run is cleared away: the next bothyd finishes that.
func TestEngineKilledRightAfterARemoval(t *testing.T) {
	t.Parallel()
	theEngine(t)
	e := ownEngine(t)
	e.bothy(t, "import", sampleImage("busybox"), "busybox")
	for range 5 {
		if got := e.bothy(t, "run", "--rm", "busybox", "echo", "hi"); got != "hi" {
			t.Errorf("it said %q", got)
		}
		if err := e.signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := e.start(); err != nil {
			t.Fatal(err)
		}
		if got := e.bothy(t, "ps", "-aq"); got != "" {
			t.Errorf("containers are back: %s", got)
		}
		for _, dir := range []string{filepath.Join(e.dir, "run", "c"), filepath.Join(e.dir, "data", "containers"), filepath.Join(e.dir, "data", "removed")} {
			awaitEmpty(t, dir)
		}
	}
}

func awaitEmpty(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s still holds %v", dir, left)
		}
	}
}
