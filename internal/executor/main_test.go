package executor_test

import (
	"fmt"
	"os"
	"os/exec"
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
	os.Exit(m.Run())
}

// rerun runs the tests in a mount namespace that goes with them.
func rerun() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inner+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "running the tests in a mount namespace:", err)
			return 1
		}
		return max(cmd.ProcessState.ExitCode(), 1)
	}
	return 0
}
