package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
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

// lockBridge takes the bridge name for this process, in its network namespace:
// an abstract socket is as local to that as a link is, and ends with the
// process. A second bothyd on a bridge would remove the first one's links.
func lockBridge(name string) (io.Closer, error) {
	address := &net.UnixAddr{Name: "@bothyd/bridge/" + name, Net: "unix"}
	for range 2 {
		l, err := net.ListenUnix("unix", address)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("locking the bridge %s: %w", name, err)
		}
		owner, err := ownerOf(address)
		switch {
		case err != nil: // it has gone meanwhile
		case owner.Uid != 0: // anyone may take such a name: only root's counts
			return io.NopCloser(nil), nil
		default:
			return nil, fmt.Errorf("another bothyd (pid %d) is using the bridge %s: stop it, or choose another --bridge", owner.Pid, name)
		}
	}
	return nil, fmt.Errorf("another bothyd is using the bridge %s: stop it, or choose another --bridge", name)
}

// ownerOf tells who listens at address.
func ownerOf(address *net.UnixAddr) (*unix.Ucred, error) {
	conn, err := net.DialUnix("unix", nil, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil {
		return nil, cerr
	}
	return cred, err
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
