package guest

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// mount is one file system of the machine.
type mount struct {
	target, kind, data string
	flags              uintptr
}

const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mounts are made in this order.
var mounts = []mount{
	{"/dev", "devtmpfs", "mode=0755", unix.MS_NOSUID | unix.MS_NOEXEC},
	{"/proc", "proc", "", quiet},
	{"/sys", "sysfs", "", quiet},
	{"/sys/fs/cgroup", "cgroup2", "nsdelegate", quiet},
	{"/run", "tmpfs", "mode=0755", unix.MS_NOSUID | unix.MS_NODEV},
	{"/tmp", "tmpfs", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
	{"/dev/pts", "devpts", "mode=0620,gid=5,ptmxmode=0666", unix.MS_NOSUID | unix.MS_NOEXEC},
}

// mountAll leaves the initramfs's own root, from which a container could not
// pivot, and mounts what the machine needs.
func mountAll() error {
	if err := leaveRootfs(); err != nil {
		return fmt.Errorf("leaving the initramfs's root: %w", err)
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mounting %s: %w", m.target, err)
		}
	}
	return hurry()
}

// hurry has the kernel wait for its processors by asking each of them rather
// than until each has come by, which takes some clock ticks: to move a process
// to another cgroup, say. A machine has few processors.
func hurry() error {
	err := os.WriteFile("/sys/kernel/rcu_expedited", []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) { // the kernel has no such choice
		return nil
	}
	return err
}

// leaveRootfs makes the root a mount of its own: the same files, but with a
// parent, which pivot_root wants. Nothing is copied.
func leaveRootfs() error {
	const stand = "/run" // any directory
	if err := unix.Mount("/", stand, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Chdir(stand); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// powerOff ends the machine. What the file systems hold goes to the disks first.
func powerOff() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	os.Exit(1) // the kernel panics, and that ends the machine too
}

// uptime is the time since the kernel's start.
func uptime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
