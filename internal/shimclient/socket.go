package shimclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// maxSocketPath is the longest path that fits a sockaddr_un with its NUL.
const maxSocketPath = 107

// shortPath gives a path that leads to the socket and fits an address, and a
// function that releases it.
func shortPath(path string) (string, func(), error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	short := "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + filepath.Base(path)
	return short, func() { _ = dir.Close() }, nil
}

func dialUnix(ctx context.Context, path string) (*net.UnixConn, error) {
	short, release, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer release()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", short)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// listenUnix makes a listening socket, mode 0600, in place of a dead one.
func listenUnix(path string) (*os.File, error) {
	fd, err := bindUnix(path)
	if errors.Is(err, unix.EADDRINUSE) {
		conn, dialErr := dialUnix(context.Background(), path)
		if dialErr == nil {
			_ = conn.Close()
			return nil, fmt.Errorf("a shim listens on %s already: %w", path, errdefs.ErrAlreadyExists)
		}
		if errors.Is(dialErr, syscall.ECONNREFUSED) && os.Remove(path) == nil {
			fd, err = bindUnix(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func bindUnix(path string) (int, error) {
	short, release, err := shortPath(path)
	if err != nil {
		return -1, err
	}
	defer release()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Fchmod(fd, 0o600) // the mode that bind gives the file
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: short})
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
