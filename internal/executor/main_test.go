package executor_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bothy/internal/executor"
)

// inner marks the test program's second run, in a mount namespace of its own.
const inner = "BOTHY_TEST_INNER"

func TestMain(m *testing.M) {
	if executor.IsInit() {
		executor.Init()
	}
	if os.Geteuid() == 0 && os.Getenv(inner) == "" {
		os.Exit(rerun())
	}
	if os.Getenv(inner) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			fmt.Fprintln(os.Stderr, "making the mounts slaves:", err)
			os.Exit(1)
		}
	}
	// libcontainer enters containers' namespaces on whichever thread it gets, and
	// leaves it there: it must not be the one that /proc/self speaks of.
	runtime.LockOSThread()
	os.Exit(m.Run())
}

// rerun runs the tests in a mount namespace that goes with them, from a sealed
// file as a shim does.
func rerun() int {
	self, err := executor.SealedSelf()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer self.Close()
	exe := fmt.Sprint("/proc/self/fd/", self.Fd())
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inner+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	err = cmd.Run()
	if cmd.Process != nil {
		removeCgroups(cmd.Process.Pid)
	}
	if err != nil {
		if cmd.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "running the tests in a mount namespace:", err)
			return 1
		}
		return max(cmd.ProcessState.ExitCode(), 1)
	}
	return 0
}

// removeCgroups removes the parent of the containers' cgroups, which is empty
// if every container was deleted.
func removeCgroups(pid int) {
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		found, _ := filepath.Glob(pattern + testCgroup(pid))
		for _, dir := range found {
			if err := os.Remove(dir); err != nil {
				fmt.Fprintln(os.Stderr, "a container was left:", err)
			}
		}
	}
}

// testCgroup is the cgroup of all containers of the test process pid.
func testCgroup(pid int) string { return fmt.Sprint("/bothy-executor-test-", pid) }
