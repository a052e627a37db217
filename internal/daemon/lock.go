package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile is held in the data root and in the exec root by the one bothyd that
// uses them.
const lockFile = "bothyd.lock"

// lockRoot makes the directory root if it is missing and takes it for this
// process; flag is the option that named it. The lock ends with the file, at
// the latest with the process.
func lockRoot(root, flag string) (io.Closer, error) {
	if err := os.MkdirAll(root, 0o711); err != nil {
		return nil, fmt.Errorf("making the %s: %w", flag, err)
	}
	path := filepath.Join(root, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the %s: %w", flag, err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		owner := readPid(f)
		_ = f.Close()
		return nil, fmt.Errorf("another bothyd (pid %s) is using %s: stop it, or choose another --%s", owner, root, flag)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return f, nil
}

func readPid(r io.Reader) string {
	text, _ := io.ReadAll(io.LimitReader(r, 32))
	pid := strings.TrimSpace(string(text))
	if _, err := strconv.Atoi(pid); err != nil {
		return "unknown"
	}
	return pid
}

// writePidfile writes this process's ID to path, unless another bothyd that
// still runs has written its own. The result removes the file.
func writePidfile(path string) (remove func(), _ error) {
	if f, err := os.Open(path); err == nil {
		pid := readPid(f)
		_ = f.Close()
		if pid != strconv.Itoa(os.Getpid()) && isBothyd(pid) {
			return nil, fmt.Errorf("another bothyd (pid %s) has the pid file %s: stop it, or choose another --pidfile", pid, path)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("writing the pid file: %w", err)
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return nil, fmt.Errorf("writing the pid file: %w", err)
	}
	return func() { _ = os.Remove(path) }, nil
}

// isBothyd says that the process pid lives and is a bothyd: the number in a
// file that was left behind may be anyone's by now, and one that was killed may
// wait as a zombie for its parent.
func isBothyd(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat")) // "12 (bothyd) S ..."; see proc(5)
	if err != nil {
		return false
	}
	_, state, ok := strings.Cut(string(stat), " (bothyd) ")
	return ok && !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}
