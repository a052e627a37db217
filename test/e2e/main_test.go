// Package e2e tries bothy as its users do: the built programs, the stock docker
// CLI, sample images made from Debian packages, both homes. All of it runs in
// network, mount and process namespaces of its own, and the tests fail if
// anything is left on the host when they have ended.
package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// roleEnv says which process of the suite this is: "" the one that go test
// started, "init" PID 1 of the tests' own namespaces, "inside" the tests,
// "outside" the machine on the network that the tests' host is connected to.
const roleEnv = "BOTHY_E2E_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "outside":
		serveOutside()
	case "init":
		os.Exit(runInit())
	case "inside":
		os.Exit(runInside(m))
	default:
		os.Exit(runTests())
	}
}

// runPrefix begins the name of a run's directory and cgroup, and so stands in
// the arguments of every process and the path of every mount. The run's own
// number, the first process's id, follows it and a dash: others may run at the
// same time.
const runPrefix = "bothy-e2e-"

// runEnv is that number's name in the environment.
const runEnv = "BOTHY_E2E_RUN"

// runTests starts this program again inside its own namespaces and compares
// the host before and after.
func runTests() int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "e2e: the end-to-end tests need root (namespaces, networks, cgroups): run `sudo make test`")
		return 1
	}
	before, err := takeStock()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: taking stock of the host:", err)
		return 1
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	run := strconv.Itoa(os.Getpid())
	cmd.Env = append(os.Environ(), roleEnv+"=init", runEnv+"="+run)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID, Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	status := 0
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			fmt.Fprintln(os.Stderr, "e2e: starting the tests in namespaces of their own:", err)
		}
		status = 1
	}
	after, err := takeStock()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: taking stock of the host:", err)
		return 1
	}
	for _, left := range after.since(before) {
		// What else comes and goes on this host is not the tests'.
		if strings.Contains(left, runPrefix+run+"-") {
			fmt.Fprintln(os.Stderr, "e2e: left behind on the host:", left)
			status = 1
		}
	}
	return status
}

// runInit makes the namespaces usable, starts the tests and reaps whatever is
// orphaned among them, as a host's init does.
func runInit() int {
	if err := enterNamespaces(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: setting up the tests' namespaces:", err)
		return 1
	}
	if err := os.Setenv(roleEnv, "inside"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	tests, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: starting the tests:", err)
		return 1
	}
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
		case err == syscall.EINTR:
		case err != nil:
			fmt.Fprintln(os.Stderr, "e2e: waiting for the tests:", err)
			return 1
		case pid == tests && status.Exited():
			return status.ExitStatus()
		case pid == tests:
			fmt.Fprintln(os.Stderr, "e2e: the tests were ended by", status.Signal())
			return 1
		}
	}
}

// runInside is the suite proper.
func runInside(m *testing.M) int {
	dir, err := os.MkdirTemp("", runPrefix+os.Getenv(runEnv)+"-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	stopOutside, err := startOutside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: making a network outside:", err)
		return 1
	}
	defer stopOutside()
	shared.dir = dir
	status := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: stopping the engine:", err)
		status = 1
	}
	return status
}

// enterNamespaces makes the new mount and process namespaces usable: a /proc
// that shows the latter, and no mount that travels back to the host.
func enterNamespaces() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return nil
}
