package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"bothy/internal/vm"
)

// statusKilled is the exit status of a container that went with its shim.
const statusKilled = 137

// killTimeout bounds the wait for processes that were killed.
const killTimeout = 10 * time.Second

// deleteContainer kills the container's processes and removes libcontainer's
// state and the cgroup.
func deleteContainer(ctx context.Context, root, id string) error {
	c, err := libcontainer.Load(root, id)
	if errors.Is(err, libcontainer.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.Signal(unix.SIGKILL); err != nil && !errors.Is(err, libcontainer.ErrNotRunning) {
		return fmt.Errorf("killing its processes: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.Destroy()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("removing it: %w", err)
		}
	}
}

// deleteMachine kills the bundle's QEMU. QEMU dies with its shim, so one is found here only if it is just about to.
func deleteMachine(bundle, id string) error {
	path := filepath.Join(bundle, vm.PidFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if err := killWait(pid, id); err != nil {
		return fmt.Errorf("ending its machine, process %d: %w", pid, err)
	}
	return os.Remove(path)
}

// deleteGroup kills what is left in the container's cgroup and removes it:
// QEMU's, or that of a container whose shim died while it was being made.
func deleteGroup(bundle, id string) error {
	path, err := groupPath(bundle, id)
	if err != nil {
		return err
	}
	if filepath.Base(path) != id {
		return nil // not this container's alone
	}
	group, err := machineGroup(bundle, id)
	if err != nil {
		return err
	}
	if pids, err := group.GetAllPids(); err == nil {
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	if err := group.Destroy(); err != nil {
		return fmt.Errorf("removing its cgroup: %w", err)
	}
	return nil
}

// killWait kills a process of the container's cgroup, and waits for its end.
// Another cgroup tells that it is a later process with the same number.
func killWait(pid int, id string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	groups, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil || !strings.Contains(string(groups), "/"+id) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	n, err := 0, error(unix.EINTR)
	for err == unix.EINTR { // by the runtime's own signals
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(killTimeout.Milliseconds()))
	}
	if err == nil && n == 0 {
		return fmt.Errorf("it is still there after %s", killTimeout)
	}
	return err
}
