package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// maxTries bounds how often a path is resolved again because something was
// renamed meanwhile.
const maxTries = 128

// maxDepth bounds how deep directories may lie in one another: each level of a
// walk holds a descriptor. A path cannot be longer in one system call anyway.
const maxDepth = 2048

// tree is a directory that paths are resolved beneath: symbolic links in them,
// the last one too unless flags have O_NOFOLLOW, mean what they mean to a
// process whose root it is.
type tree struct{ root *os.File }

// open opens a path. The file may be something that must not be opened but with
// O_PATH: see file.
func (t tree) open(name string, flags int) (*os.File, error) {
	how := &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range maxTries {
		fd, err := unix.Openat2(int(t.root.Fd()), name, how)
		if err == nil {
			return os.NewFile(uintptr(fd), name), nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
	}
	return nil, fmt.Errorf("opening %s: files are moved about too quickly to find it: %w", name, errdefs.ErrUnavailable)
}

// resolve gives the path that name leads to when all symbolic links are
// followed. What does not exist is taken as it is written.
func (t tree) resolve(name string) (string, error) {
	return securejoin.SecureJoinVFS("/", name, treeFS{t})
}

// treeFS looks files up for SecureJoinVFS, whose root is the tree's.
type treeFS struct{ t tree }

func (f treeFS) Lstat(name string) (os.FileInfo, error) {
	file, err := f.t.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return file.Stat()
}

func (f treeFS) Readlink(name string) (string, error) {
	file, err := f.t.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return readlink(file)
}

// openName opens what has a name in a directory, without following a symbolic
// link and without opening a device: with O_PATH.
func openName(dir *os.File, name string) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil {
			return os.NewFile(uintptr(fd), name), nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

// openDir opens a directory, of which there is an O_PATH handle, to list it.
func openDir(handle *os.File) (*os.File, error) {
	fd, err := unix.Openat(int(handle.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: handle.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), handle.Name()), nil
}

// reopen opens a regular file, of which there is an O_PATH handle.
func reopen(handle *os.File, flags int) (*os.File, error) {
	fd, err := unix.Open(procPath(handle), flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: handle.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), handle.Name()), nil
}

// procPath is a path to what a handle is of, be it a symbolic link.
func procPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

func fstat(f *os.File) (st unix.Stat_t, err error) {
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return st, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return st, nil
}

func readlink(handle *os.File) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(handle.Fd()), "", buf)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: handle.Name(), Err: err}
	}
	return string(buf[:n]), nil
}

// names lists a directory in order.
func names(dir *os.File) ([]string, error) {
	list, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer list.Close()
	all, err := list.Readdirnames(-1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	slices.Sort(all)
	return all, nil
}

func isDir(st *unix.Stat_t) bool  { return st.Mode&unix.S_IFMT == unix.S_IFDIR }
func isReg(st *unix.Stat_t) bool  { return st.Mode&unix.S_IFMT == unix.S_IFREG }
func isLink(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFLNK }

// absolute gives a path from outside as an absolute one that keeps what it ends
// with, as docker does: a slash or "." say that a directory's content is meant.
func absolute(name string) string {
	abs := path.Join("/", name)
	if path.Base(name) == "." {
		abs = strings.TrimSuffix(abs, "/") + "/."
	}
	if strings.HasSuffix(name, "/") && !strings.HasSuffix(abs, "/") {
		abs += "/"
	}
	return abs
}
