package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a confined QEMU may do with files by their names: see Documentation/
// userspace-api/landlock.rst in Linux. Files that it got open are not concerned.
const (
	readFile   = unix.LANDLOCK_ACCESS_FS_READ_FILE
	readAll    = readFile | unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_EXECUTE
	readWrite  = readFile | unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	everything = 1<<13 - 1 // what the first version of Landlock knows
)

// readable is where a QEMU finds itself: its program, libraries and firmware,
// what they are configured by, and what the kernel tells of processes.
var readable = []string{"/usr", "/lib", "/lib64", "/bin", "/nix/store", "/gnu/store", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/alternatives", "/proc", "/sys/devices/system"}

// devices are those that a QEMU opens by name.
var devices = []string{"/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/kvm"}

// confine takes from the calling thread, and from what it starts, all files but
// those that a QEMU needs: program, a kernel's and an initramfs's paths are
// among these. The thread must not be able to gain privileges. It does nothing
// where the kernel has no Landlock: what is left then is the user that nobody
// else is.
func confine(program string, boot ...string) error {
	attr := unix.LandlockRulesetAttr{Access_fs: everything}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Access_fs), 0)
	switch errno {
	case 0:
	case unix.ENOSYS, unix.EOPNOTSUPP:
		return nil
	default:
		return fmt.Errorf("confining QEMU: %w", errno)
	}
	defer unix.Close(int(fd))
	for _, path := range readable {
		if err := allow(int(fd), path, readAll); err != nil {
			return err
		}
	}
	// A program outside the system's directories has its files around it.
	if resolved, err := filepath.EvalSymlinks(program); err == nil {
		if err := allow(int(fd), filepath.Dir(filepath.Dir(resolved)), readAll); err != nil {
			return err
		}
	}
	for _, path := range boot {
		if err := allow(int(fd), path, readFile); err != nil {
			return err
		}
	}
	for _, path := range devices {
		if err := allow(int(fd), path, readWrite); err != nil {
			return err
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("confining QEMU: %w", errno)
	}
	return nil
}

// allow adds a path, and all below it if it is a directory, to a ruleset. A path
// that does not exist needs no rule.
func allow(ruleset int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("confining QEMU: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("confining QEMU: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &^= unix.LANDLOCK_ACCESS_FS_READ_DIR
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("confining QEMU to %s: %w", path, errno)
	}
	return nil
}

// limit bounds what a QEMU that runs can use: no file becomes longer than
// longest bytes by it, and it leaves no core file. It does nothing where this
// process may not set limits of other users' processes (CAP_SYS_RESOURCE).
func limit(pid int, longest uint64) error {
	for resource, n := range map[int]uint64{unix.RLIMIT_FSIZE: longest, unix.RLIMIT_CORE: 0} {
		err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: n, Max: n}, nil)
		if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("limiting QEMU: %w", err)
		}
	}
	return nil
}
