package executor

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// reaperHelper marks the process that TestReaper runs: reaping is a matter of a
// whole process.
const reaperHelper = "BOTHY_TEST_REAPER"

// TestReaper makes a process the parent of orphans, and starts children in it
// that are waited for as usual while orphans come in.
func TestReaper(t *testing.T) {
	if os.Getenv(reaperHelper) != "" {
		if err := reapOrphans(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestReaper$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), reaperHelper+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
}

func reapOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	r := NewReaper()
	alive, end, err := os.Pipe() // the orphans hold its end
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	results := make(chan error, 40)
	for i := range cap(results) {
		wg.Go(func() { results <- childWithOrphans(r, end, i) })
	}
	wg.Wait()
	_ = end.Close()
	close(results)
	for err := range results {
		if err != nil {
			return err
		}
	}
	_, _ = io.Copy(io.Discard, alive) // until the last orphan has ended
	return noChildren()
}

// childWithOrphans runs a child that leaves processes behind and ends with a
// status of its own, which must arrive.
func childWithOrphans(r *Reaper, end *os.File, status int) error {
	cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("(exit 1) & (sleep 0.02; exit 1) & (exec sleep 0.05) & exit %d", status))
	cmd.ExtraFiles = []*os.File{end}
	if err := r.Start(func() (int, error) {
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	}); err != nil {
		return err
	}
	err := cmd.Wait()
	r.Release(cmd.Process.Pid)
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		return fmt.Errorf("status of child %d: %v, %v", status, cmd.ProcessState, err)
	}
	return nil
}

// noChildren waits until the last child is reaped.
func noChildren() error {
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err == unix.ECHILD {
			return nil
		}
		runtime.Gosched()
	}
	return fmt.Errorf("child %d was not reaped", endedChild())
}
