package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxSocketPath is what fits in a Unix socket's address, in bytes.
const maxSocketPath = 107

// socketPath gives the path of the socket that a host names, or says why there
// is none.
func socketPath(host string) (string, error) {
	scheme, path, ok := strings.Cut(host, "://")
	if !ok {
		return "", fmt.Errorf("-H %q is no address to listen on: write it as %s", host, defaultHost)
	}
	switch scheme {
	case "unix":
	case "tcp":
		return "", fmt.Errorf("-H %s: bothyd does not listen on TCP yet, since whoever reaches the port without TLS is root on this machine: use a Unix socket, from elsewhere over ssh (DOCKER_HOST=ssh://root@host)", host)
	case "fd":
		return "", fmt.Errorf("-H %s: bothyd does not take sockets from systemd yet: use unix://PATH", host)
	default:
		return "", fmt.Errorf("-H %s: bothyd listens on Unix sockets: write it as %s", host, defaultHost)
	}
	if path == "" {
		path = strings.TrimPrefix(defaultHost, "unix://")
	}
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("-H %s: %q is not an absolute path", host, path)
	}
	if path = filepath.Clean(path); len(path) > maxSocketPath {
		return "", fmt.Errorf("-H %s: the path is %d bytes long, and Linux takes %d for a socket: choose a shorter one", host, len(path), maxSocketPath)
	}
	return path, nil
}

// listen opens the socket at path for root and gid. The file of a listener that
// is gone is replaced; one that answers is left alone. The listener removes
// its file when it is closed.
func listen(path string, gid int) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// Nobody may connect before the group and the mode are right.
	old := syscall.Umask(0o777)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	err = os.Chown(path, 0, gid)
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	return l, nil
}

// dialTime bounds the question whether somebody listens.
const dialTime = time.Second

// removeStale removes a socket's file that nobody listens on.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listening on %s: %w", path, err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("listening on %s: it exists and is no socket: remove it, or choose another with -H", path)
	}
	conn, err := net.DialTimeout("unix", path, dialTime)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("something is listening on %s: stop it, or choose another socket with -H", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("replacing the socket %s, which nobody listens on: %w", path, err)
	}
	return nil
}

// socketGroup gives the ID of the group that may use the sockets. The default
// group need not exist; then it is root's.
func socketGroup(name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	if id, err := strconv.Atoi(name); err == nil && id >= 0 {
		return id, nil
	}
	g, err := user.LookupGroup(name)
	if err == nil {
		return strconv.Atoi(g.Gid)
	}
	if name == defaultGroup {
		return 0, nil
	}
	return 0, fmt.Errorf("--group %s: there is no such group: make it with groupadd %s", name, name)
}
