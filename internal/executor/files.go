package executor

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// Files opens the files of a container that is there, or of one that only its
// files were mounted of (MountFiles). What its methods return is the caller's to
// close.
type Files struct {
	bundle string
	mounts *mountStack
	root   string   // the root file system
	view   string   // the same with the container's binds in it
	init   *process // nil: nothing runs in it
}

// Files gives the files of a container.
func (s *Service) Files(id string) (*Files, error) {
	c, err := s.container(id)
	if err != nil {
		return nil, err
	}
	return &Files{bundle: c.bundle, mounts: c.mounts, root: c.spec.Root.Path, view: c.spec.Root.Path, init: c.init}, nil
}

// FileMounts say what MountFiles mounts.
type FileMounts struct {
	Bundle  string         // an existing directory, absolute path
	Rootfs  []*types.Mount // as in a Create request
	Resolve func(*types.Mount) (*types.Mount, error)
	// Binds are what the container sees of its host, in their order.
	Binds []FileBind
	// ReadOnly makes the root that the container sees read-only.
	ReadOnly bool
}

// FileBind is a directory or file of the host that a container sees.
type FileBind struct {
	Source   string // absolute host path; one that isn't there is left out
	Target   string // absolute, in the container; made if missing
	ReadOnly bool
}

// viewDir is where in a bundle the root file system is seen with its binds.
const viewDir = "view"

// MountFiles mounts the files of a container that does not run. The mounts last
// until Close.
func MountFiles(m FileMounts) (_ *Files, err error) {
	mounts, err := mountRootfs(m.Bundle, m.Rootfs, m.Resolve)
	if err != nil {
		return nil, err
	}
	f := &Files{bundle: m.Bundle, mounts: mounts, root: filepath.Join(m.Bundle, rootfsDir), view: filepath.Join(m.Bundle, viewDir)}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := os.MkdirAll(f.view, 0o755); err != nil {
		return nil, wrap(err, "making a mount point")
	}
	if err := mountBind(f.root, f.view, options{}); err != nil {
		return nil, wrap(err, "mounting the container's view")
	}
	mounts.targets = append(mounts.targets, f.view)
	for _, b := range m.Binds {
		if err := f.bind(b); err != nil {
			return nil, wrap(err, "mounting %s at %s", b.Source, b.Target)
		}
	}
	if m.ReadOnly {
		if err := makeReadOnly(f.view, 0); err != nil {
			return nil, wrap(err, "making the container's root read-only")
		}
	}
	return f, nil
}

// Close unmounts what MountFiles has mounted; files that are open stay so.
func (f *Files) Close() { f.mounts.unmount() }

// bind shows a bind at its place in the view, which is made in the root file
// system if it is missing, as a start would do.
func (f *Files) bind(b FileBind) error {
	info, err := os.Stat(b.Source)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := makeMountPoint(f.root, b.Target, info.IsDir()); err != nil {
		return err
	}
	at, err := pathrs.OpenInRoot(f.view, b.Target)
	if err != nil {
		return err
	}
	defer at.Close()
	target := "/proc/self/fd/" + strconv.Itoa(int(at.Fd()))
	if err := mountAt(b.Source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	path, err := os.Readlink(target) // of the place below the mount, which covers it
	if err != nil {
		return err
	}
	f.mounts.targets = append(f.mounts.targets, path)
	if b.ReadOnly {
		return makeReadOnly(path, unix.AT_RECURSIVE)
	}
	return nil
}

// makeMountPoint makes a directory or an empty file if nothing is there.
func makeMountPoint(root, path string, dir bool) error {
	if at, err := pathrs.OpenInRoot(root, path); err == nil {
		return at.Close()
	}
	if dir {
		return pathrs.MkdirAll(root, path, 0o755)
	}
	if err := pathrs.MkdirAll(root, filepath.Dir(path), 0o755); err != nil {
		return err
	}
	parent, err := pathrs.OpenInRoot(root, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	err = unix.Mknodat(int(parent.Fd()), filepath.Base(path), unix.S_IFREG|0o755, 0)
	if err == unix.EEXIST {
		return nil
	}
	return os.NewSyscallError("mknod", err)
}

func makeReadOnly(path string, flags uint) error {
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(unix.AT_FDCWD, path, flags|unix.AT_SYMLINK_NOFOLLOW, attr))
}

// View is the root directory that the container's first process sees, with all
// that is mounted there; of one that does not run, the root file system with
// its binds.
func (f *Files) View() (*os.File, error) {
	if f.init != nil {
		if root, err := f.processRoot(); root != nil || err != nil {
			return root, err
		}
	}
	return openPath(f.view)
}

// processRoot opens the root of the first process's mount namespace; nil if
// there is no such process any more.
func (f *Files) processRoot() (*os.File, error) {
	v := f.init.view()
	if v.pid == 0 || v.state == stateStopped || v.state == stateDeleted {
		return nil, nil
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", v.pid))
	if err != nil {
		return nil, nil // it has just ended
	}
	defer ns.Close()
	root, err := namespaceRoot(ns)
	if err != nil {
		return nil, wrap(err, "entering the container's mount namespace")
	}
	// The process may have ended, and its number be another's.
	if !sameFile(root, f.view) {
		root.Close()
		return nil, nil
	}
	return root, nil
}

// namespaceRoot opens the root of a mount namespace, whatever root its processes
// have given themselves.
func namespaceRoot(ns *os.File) (*os.File, error) {
	type result struct {
		root *os.File
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this
		var r result
		if r.err = os.NewSyscallError("unshare CLONE_FS", unix.Unshare(unix.CLONE_FS)); r.err == nil {
			r.err = os.NewSyscallError("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS))
		}
		if r.err == nil {
			r.root, r.err = openPath("/")
		}
		done <- r
	}()
	r := <-done
	return r.root, r.err
}

// sameFile says whether an open directory is the one at path. A mount of its own
// has a device of its own.
func sameFile(f *os.File, path string) bool {
	var a, b unix.Stat_t
	if unix.Fstat(int(f.Fd()), &a) != nil || unix.Lstat(path, &b) != nil {
		return false
	}
	return a.Dev == b.Dev && a.Ino == b.Ino
}

func openPath(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Root is the container's root file system, and nothing that is mounted in it.
func (f *Files) Root() (*os.File, error) { return openPath(f.root) }

// Layers are the writable side of the container's root file system, and what
// all that is below it makes up.
func (f *Files) Layers() (upper, lower *os.File, err error) {
	d := f.mounts.overlay
	if d == nil || d.upper == "" {
		return nil, nil, errorf(errdefs.ErrFailedPrecondition, "the container's root file system has no writable side of its own")
	}
	if upper, err = openPath(inBundle(f.bundle, d.upper)); err != nil {
		return nil, nil, err
	}
	if lower, err = f.lower(d); err != nil {
		upper.Close()
		return nil, nil, wrap(err, "opening the image's files")
	}
	return upper, lower, nil
}

// lower opens the layers below the writable side, merged. The mount goes when
// it is closed.
func (f *Files) lower(d *overlayDirs) (*os.File, error) {
	if len(d.lower) == 1 {
		return openPath(inBundle(f.bundle, d.lower[0]))
	}
	at, err := os.MkdirTemp(f.bundle, "lower-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(at)
	if err := (overlayDirs{lower: d.lower}).mount(f.bundle, at, unix.MS_RDONLY); err != nil {
		return nil, err
	}
	defer func() { _ = unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) }()
	return openPath(at)
}
