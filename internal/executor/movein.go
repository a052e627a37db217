package executor

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// newRoot is the directory in a zygote's empty root file system where the
// container's own arrives.
const newRoot = "new"

// preparePoints makes what a zygote's mounts need in the root file system,
// before anything is moved: directories for the trees, files or directories for
// the binds. It is false where that is not as simple as it should be, a
// symbolic link in the way say, and for binds whose source is not there.
func preparePoints(spec *specs.Spec) bool {
	root := spec.Root.Path
	for _, t := range trees {
		path := filepath.Join(root, t)
		if err := os.Mkdir(path, 0o755); err == nil {
			continue
		}
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			return false
		}
	}
	_, binds, ok := splitMounts(spec.Mounts)
	if !ok {
		return false
	}
	dir, err := openPath(root)
	if err != nil {
		return false
	}
	defer dir.Close()
	for _, b := range binds {
		info, err := os.Stat(b.Source)
		if err != nil || makeMountPoint(root, b.Destination, info.IsDir()) != nil {
			return false
		}
		at, err := beneath(dir, b.Destination, false)
		if err != nil {
			return false
		}
		at.Close()
	}
	return true
}

// beneath opens what has that path in root, by directories alone.
func beneath(root *os.File, path string, dir bool) (*os.File, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS}
	if dir {
		how.Flags |= unix.O_DIRECTORY
	}
	fd, err := unix.Openat2(int(root.Fd()), path, how)
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// arrival is a copy of a mount of this namespace on its way to another.
type arrival struct {
	tree   *os.File
	target string // "" for the root
}

// copyMount takes a private copy of what is mounted at path.
func copyMount(path, target string, recursive, readOnly bool) (arrival, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, flags)
	if err != nil {
		return arrival{}, &os.PathError{Op: "open_tree", Path: path, Err: err}
	}
	a := arrival{os.NewFile(uintptr(fd), path), target}
	err = setAttr(fd, unix.AT_RECURSIVE, unix.MountAttr{Propagation: unix.MS_PRIVATE})
	if err == nil && readOnly {
		err = setAttr(fd, 0, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	if err != nil {
		a.tree.Close()
	}
	return a, err
}

func setAttr(fd int, flags uint, attr unix.MountAttr) error {
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(fd, "", flags|unix.AT_EMPTY_PATH, &attr))
}

// moveIn puts the zygote into the root file system and gives it its names.
func (z *zygote) moveIn(spec *specs.Spec) error {
	_, binds, _ := splitMounts(spec.Mounts)
	var arrivals []arrival
	defer func() {
		for _, a := range arrivals {
			a.tree.Close()
		}
	}()
	add := func(path, target string, recursive, readOnly bool) error {
		a, err := copyMount(path, target, recursive, readOnly)
		if err == nil {
			arrivals = append(arrivals, a)
		}
		return err
	}
	if err := add(spec.Root.Path, "", true, false); err != nil {
		return err
	}
	for _, b := range binds {
		if err := add(b.Source, b.Destination, has(b.Options, "rbind"), has(b.Options, "ro")); err != nil {
			return err
		}
	}
	return z.inside.do(func() error {
		if err := changeRoot(arrivals); err != nil {
			return err
		}
		if err := os.MkdirAll(spec.Process.Cwd, 0o755); err != nil {
			return err
		}
		return setNames(spec)
	})
}

func has(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}

// changeRoot makes the first arrival the root of the thread's mount namespace,
// and of all who are in it. The trees and the other arrivals go to their places
// in it; nothing of the old root stays.
func changeRoot(arrivals []arrival) error {
	if err := attach(arrivals[0], unix.AT_FDCWD, "/"+newRoot, 0); err != nil {
		return err
	}
	root, err := openPath("/" + newRoot)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, t := range trees {
		at, err := beneath(root, t, true)
		if err != nil {
			return err
		}
		err = os.NewSyscallError("move_mount", unix.MoveMount(unix.AT_FDCWD, t, int(at.Fd()), "", unix.MOVE_MOUNT_T_EMPTY_PATH))
		if err := errors.Join(err, at.Close()); err != nil {
			return err
		}
	}
	for _, a := range arrivals[1:] {
		at, err := beneath(root, a.target, false)
		if err != nil {
			return err
		}
		err = attach(a, int(at.Fd()), "", unix.MOVE_MOUNT_T_EMPTY_PATH)
		if err := errors.Join(err, at.Close()); err != nil {
			return err
		}
	}
	return pivot(root)
}

func attach(a arrival, dir int, target string, flags int) error {
	err := unix.MoveMount(int(a.tree.Fd()), "", dir, target, flags|unix.MOVE_MOUNT_F_EMPTY_PATH)
	return os.NewSyscallError("move_mount", err)
}

// pivot makes a mounted directory the root. The old one then lies over it and is
// taken away: see pivot_root(2).
func pivot(root *os.File) error {
	if err := unix.Fchdir(int(root.Fd())); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return os.NewSyscallError("pivot_root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return os.NewSyscallError("umount2", err)
	}
	return os.NewSyscallError("chdir", unix.Chdir("/"))
}

// setNames gives the thread's UTS namespace its names.
func setNames(spec *specs.Spec) error {
	if spec.Hostname != "" {
		if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
			return os.NewSyscallError("sethostname", err)
		}
	}
	if spec.Domainname != "" {
		return os.NewSyscallError("setdomainname", unix.Setdomainname([]byte(spec.Domainname)))
	}
	return nil
}
