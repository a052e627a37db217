package executor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// rootfsDir is where in a bundle the last of a request's mounts goes.
const rootfsDir = "rootfs"

// mountStack is what was mounted for a container, the oldest first.
type mountStack struct {
	targets []string
	overlay *overlayDirs // of the last overlay; nil: there is none
}

// mountRootfs mounts the root file system's parts in their order: each at its
// Target in the bundle, the last at the bundle's rootfs. No mounts at all mean
// that the root file system is there already.
func mountRootfs(bundle string, mounts []*types.Mount, resolve func(*types.Mount) (*types.Mount, error)) (_ *mountStack, err error) {
	stack := &mountStack{}
	defer func() {
		if err != nil {
			stack.unmount()
		}
	}()
	for i, m := range mounts {
		target := rootfsDir
		if i < len(mounts)-1 {
			target = m.Target
		}
		if !filepath.IsLocal(target) || target == "." {
			return stack, errorf(errdefs.ErrInvalidArgument, "the mount point %q is not inside the bundle", target)
		}
		if resolve != nil {
			if m, err = resolve(m); err != nil {
				return stack, wrap(err, "finding what to mount at %s", target)
			}
		}
		if err := stack.mount(bundle, filepath.Join(bundle, target), m); err != nil {
			return stack, err
		}
	}
	return stack, nil
}

func (s *mountStack) mount(bundle, target string, m *types.Mount) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return wrap(err, "making a mount point")
	}
	o := parseOptions(m.Options)
	var err error
	switch m.Type {
	case "erofs":
		err = mountErofs(inBundle(bundle, m.Source), target, o)
	case "overlay":
		s.overlay, err = mountOverlay(bundle, target, o)
	case "bind":
		err = mountBind(inBundle(bundle, m.Source), target, o)
	case "ext4", "tmpfs":
		err = mountAt(m.Source, target, m.Type, o.flags, o.data())
	default:
		return errorf(errdefs.ErrInvalidArgument, "cannot mount %s: unknown type %q", m.Source, m.Type)
	}
	if err != nil {
		return wrap(err, "mounting %s (%s) at %s", m.Source, m.Type, target)
	}
	s.targets = append(s.targets, target)
	return nil
}

// unmount removes the mounts. They are detached: what is still open goes when
// it is closed, so there is no error that anybody could do something about.
func (s *mountStack) unmount() {
	if s == nil {
		return
	}
	for i := len(s.targets) - 1; i >= 0; i-- {
		_ = unix.Unmount(s.targets[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	s.targets = nil
}

// options are a mount's options, parsed.
type options struct {
	flags  uintptr
	values []string // what goes to the file system: "key" or "key=value"
}

// mountFlags are the options that the kernel takes as flags; those of the
// second table take a flag away.
var (
	mountFlags = map[string]uintptr{
		"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC, "sync": unix.MS_SYNCHRONOUS,
		"dirsync": unix.MS_DIRSYNC, "noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
		"strictatime": unix.MS_STRICTATIME, "lazytime": unix.MS_LAZYTIME, "bind": unix.MS_BIND, "rbind": unix.MS_BIND | unix.MS_REC,
	}
	clearedFlags = map[string]uintptr{
		"rw": unix.MS_RDONLY, "suid": unix.MS_NOSUID, "dev": unix.MS_NODEV, "exec": unix.MS_NOEXEC, "async": unix.MS_SYNCHRONOUS,
		"atime": unix.MS_NOATIME, "defaults": 0,
	}
)

func parseOptions(list []string) options {
	var o options
	for _, opt := range list {
		if f, ok := mountFlags[opt]; ok {
			o.flags |= f
		} else if f, ok := clearedFlags[opt]; ok {
			o.flags &^= f
		} else if opt != "" {
			o.values = append(o.values, opt)
		}
	}
	return o
}

func (o options) data() string { return strings.Join(o.values, ",") }

// mountAt is mount(2) with an error that says what happened.
func mountAt(source, target, fstype string, flags uintptr, data string) error {
	if len(data) >= os.Getpagesize() {
		return errorf(errdefs.ErrInvalidArgument, "the mount's options are longer than a page")
	}
	return os.NewSyscallError("mount", unix.Mount(source, target, fstype, flags, data))
}

// mountBind binds a directory; flags other than bind need a second step.
func mountBind(source, target string, o options) error {
	if len(o.values) > 0 {
		return errorf(errdefs.ErrInvalidArgument, "a bind mount has no option %s", o.values[0])
	}
	bind := unix.MS_BIND | o.flags&unix.MS_REC
	if err := mountAt(source, target, "", bind, ""); err != nil {
		return err
	}
	rest := o.flags &^ (unix.MS_BIND | unix.MS_REC)
	if rest == 0 {
		return nil
	}
	if err := mountAt("", target, "", unix.MS_BIND|unix.MS_REMOUNT|rest, ""); err != nil {
		return errors.Join(err, os.NewSyscallError("umount", unix.Unmount(target, unix.MNT_DETACH)))
	}
	return nil
}
