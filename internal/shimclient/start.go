package shimclient

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"bothy/internal/shimapi"
)

// programName is the shim's argv[0], whatever file it is started from.
const programName = "containerd-shim-bothy-v2"

// Options say which shim to start, or to clean up after.
type Options struct {
	// Binary is the shim program's path. It is not used if Executable is set.
	Binary string
	// Executable, if not nil, is the open shim program, for example a sealed
	// memfd that every container shares. It stays the caller's.
	Executable *os.File

	ID     string
	Bundle string // an existing directory, absolute path

	// StateDir is where Cleanup finds or writes the exit record; see
	// shimapi.CreateOptions. Start doesn't need it.
	StateDir string

	// Network are the files from shimapi.NetworkFD on: the network namespace
	// (process home) or the taps in the order of the interfaces (vm). They
	// stay the caller's.
	Network []*os.File

	// LogPath takes the shim's own messages; "": shimapi.ShimLog in Bundle.
	LogPath string
}

// Start makes the bundle's sockets, starts a shim that serves them and
// connects to it. It doesn't wait until the shim has come up: the first call
// of the task service does. The shim is in a session and a mount namespace of
// its own, and is reaped if it ends while this process lives.
//
// The error is errdefs.ErrAlreadyExists if a shim serves the bundle already.
// If Start fails nothing is left running.
func Start(ctx context.Context, opts Options) (*Client, error) {
	c, err := start(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("starting the shim of container %s: %w", opts.ID, err)
	}
	return c, nil
}

func start(ctx context.Context, opts Options) (*Client, error) {
	if opts.ID == "" || !filepath.IsAbs(opts.Bundle) {
		return nil, fmt.Errorf("it needs an id and a bundle's absolute path: %w", errdefs.ErrInvalidArgument)
	}
	go stirCgroups()
	task, err := listenUnix(filepath.Join(opts.Bundle, shimapi.TaskSocket))
	if err != nil {
		return nil, err
	}
	defer task.Close()
	attach, err := listenUnix(filepath.Join(opts.Bundle, shimapi.AttachSocket))
	if err != nil {
		return nil, err
	}
	defer attach.Close()

	logPath := opts.LogPath
	if logPath == "" {
		logPath = filepath.Join(opts.Bundle, shimapi.ShimLog)
	}
	args := []string{"serve", "-id", opts.ID, "-bundle", opts.Bundle}
	proc, err := spawn(opts.program(), logPath, args, append([]*os.File{task, attach}, opts.Network...))
	if err != nil {
		return nil, err
	}
	pid := proc.Pid
	conn, err := dialUnix(ctx, filepath.Join(opts.Bundle, shimapi.TaskSocket))
	if err != nil {
		_ = proc.Kill()
		_, _ = proc.Wait()
		return nil, err
	}
	go func() { _, _ = proc.Wait() }() // no zombie: whoever cares sees Done
	return newClient(opts.Bundle, conn, pid), nil
}

// spawn starts the shim program; files become its descriptors from 3 on.
func spawn(path, logPath string, args []string, files []*os.File) (*os.Process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	proc, err := os.StartProcess(path, append([]string{programName}, args...), &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Files: append([]*os.File{null, log, log}, files...),
		Sys:   &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWNS},
	})
	if err != nil {
		return nil, fmt.Errorf("running %s: %w", path, err)
	}
	return proc, nil
}

// programPath is a path that leads to the shim's program from a child as well,
// where low descriptors have been replaced.
func programPath(binary string, executable *os.File) string {
	if executable == nil {
		return binary
	}
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(executable.Fd()))
}

func (o Options) program() string { return programPath(o.Binary, o.Executable) }

// Cleanup removes what a shim that died left of its container: processes,
// machine, cgroup, runtime state. Where there is no exit record it writes one
// that says so. It may be called again, and for a container that never ran;
// never while a shim serves the bundle.
func Cleanup(ctx context.Context, opts Options) error {
	cmd := exec.CommandContext(ctx, opts.program(), "delete", "-id", opts.ID, "-bundle", opts.Bundle, "-state", opts.StateDir)
	cmd.Args[0] = programName
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if text := strings.TrimSpace(string(out)); text != "" {
		err = errors.New(text)
	}
	return fmt.Errorf("cleaning up after the shim of container %s: %w", opts.ID, err)
}
