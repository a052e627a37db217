package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	startLimit = 60 * time.Second // of an engine
	endLimit   = 60 * time.Second // of an engine, with all that it runs
)

// lab is where the engines of one run live, and what takes them away again.
// Engines are started when a section first needs them and serve those after it.
type lab struct {
	settings
	disk string // a directory on the disk
	run  string // a tmpfs, as /run is one
	undo []func()

	engines map[string]*engine
	failed  map[string]error
}

// engine is a container engine that runs, by its command line.
type engine struct {
	env []string // to reach it
	cli []string // program and first arguments
	pid int      // of its daemon; 0: it has none
	run string   // its exec root
}

func newLab(s settings) (*lab, error) {
	dir, err := os.MkdirTemp("", "bothy-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{settings: s, disk: filepath.Join(dir, "disk"), run: filepath.Join(dir, "run"), engines: map[string]*engine{}, failed: map[string]error{}}
	l.later(func() { _ = os.RemoveAll(dir) })
	for _, each := range []string{l.disk, l.run} {
		if err := os.Mkdir(each, 0o711); err != nil {
			l.close()
			return nil, err
		}
	}
	if err := os.Chmod(dir, 0o711); err != nil { // machines run as users of their own
		l.close()
		return nil, err
	}
	if err := unix.Mount("tmpfs", l.run, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=711"); err != nil {
		l.close()
		return nil, fmt.Errorf("mounting a tmpfs for what lives in /run: %w: run this as root", err)
	}
	l.later(func() { _ = unix.Unmount(l.run, unix.MNT_DETACH) })
	return l, nil
}

// later has f called when the lab is closed, after all that were added later.
func (l *lab) later(f func()) { l.undo = append(l.undo, f) }

func (l *lab) close() {
	for i := len(l.undo) - 1; i >= 0; i-- {
		l.undo[i]()
	}
	l.undo = nil
}

// busybox and debian are root file systems, tar.
func (l *lab) busybox() string { return filepath.Join(l.images, "busybox.tar") }
func (l *lab) debian() string  { return filepath.Join(l.images, "debian.tar") }

// engine gives the named engine, started by start if it was not.
func (l *lab) engine(name string, start func() (*engine, error)) (*engine, error) {
	if e := l.engines[name]; e != nil {
		return e, nil
	}
	if err := l.failed[name]; err != nil {
		return nil, err
	}
	e, err := start()
	if err != nil {
		l.failed[name] = err
		return nil, err
	}
	l.engines[name] = e
	return e, nil
}

// command is a call of the engine's command line.
func (e *engine) command(ctx context.Context, args ...string) *exec.Cmd {
	return command(ctx, e.env, append(append([]string{}, e.cli...), args...))
}

// do calls the engine's command line and gives its output.
func (e *engine) do(ctx context.Context, args ...string) (string, error) {
	cmd := e.command(ctx, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %v: %w: %s", filepath.Base(e.cli[0]), args, err, bytes.TrimSpace(complaint.Bytes()))
	}
	return string(bytes.TrimSpace(out)), nil
}

// command is a program in a process group of its own, so that a Ctrl-C ends it by
// the context, after which all is cleaned up in order.
func command(ctx context.Context, env, argv []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// daemon starts an engine's daemon and waits until it listens. When the lab is
// closed, before is called and then the daemon is stopped.
func (l *lab) daemon(ctx context.Context, root, socket string, before func(context.Context), argv ...string) (pid int, err error) {
	log, err := os.Create(filepath.Join(root, "log"))
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd := command(context.WithoutCancel(ctx), nil, argv)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	l.later(func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
		defer cancel()
		before(limited)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-limited.Done():
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	for limit := time.After(startLimit); ; {
		if c, err := net.Dial("unix", socket); err == nil {
			return cmd.Process.Pid, c.Close()
		}
		select {
		case <-ended:
			said, _ := os.ReadFile(log.Name())
			return 0, fmt.Errorf("%s ended: %s", filepath.Base(argv[0]), bytes.TrimSpace(said[max(0, len(said)-500):]))
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-limit:
			return 0, errors.New(filepath.Base(argv[0]) + " did not listen in time")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// removeAll removes the engine's containers.
func (e *engine) removeAll(ctx context.Context) {
	ids, err := e.do(ctx, "ps", "-aq", "--no-trunc")
	if err == nil && ids != "" {
		_, err = e.do(ctx, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: removing containers: %v\n", err)
	}
}
