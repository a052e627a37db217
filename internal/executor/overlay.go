package executor

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// overlayDirs are the directories of an overlay, as its options name them:
// absolute or relative to the bundle.
type overlayDirs struct {
	lower       []string // the top first
	upper, work string
	rest        []string // all other options
}

func parseOverlay(o options) (overlayDirs, error) {
	var d overlayDirs
	for _, v := range o.values {
		key, value, _ := strings.Cut(v, "=")
		switch key {
		case "lowerdir":
			d.lower = strings.Split(value, ":")
		case "upperdir":
			d.upper = value
		case "workdir":
			d.work = value
		default:
			d.rest = append(d.rest, v)
		}
	}
	if len(d.lower) == 0 || d.lower[0] == "" {
		return d, errorf(errdefs.ErrInvalidArgument, "an overlay needs a lowerdir")
	}
	if (d.upper == "") != (d.work == "") {
		return d, errorf(errdefs.ErrInvalidArgument, "an overlay's upperdir needs a workdir and the other way round")
	}
	return d, nil
}

// selfContained keeps all of a changed file in the writable side, whatever the
// kernel's defaults: so an image layer can be made of that.
var selfContained = []string{"redirect_dir=off", "metacopy=off"}

// mountOverlay mounts an overlay. Where the names of its directories don't fit in
// the page that mount(2) takes, they are given to the kernel relative to the
// bundle, in which a thread of our own stands for that: so those of 127 layers
// do. Where even they don't, the newer calls that take each layer by itself are
// used.
func mountOverlay(bundle, target string, o options) (*overlayDirs, error) {
	d, err := parseOverlay(o)
	if err != nil {
		return nil, err
	}
	if d.upper != "" {
		if err := d.makeUpper(bundle); err != nil {
			return nil, err
		}
		if err := d.forgetVolatile(bundle); err != nil {
			return nil, err
		}
		d.rest = append(d.rest, selfContained...)
	}
	return &d, d.mount(bundle, target, o.flags)
}

func (d overlayDirs) mount(bundle, target string, flags uintptr) error {
	data := d.in(bundle).data()
	if len(data) < os.Getpagesize() && !strings.ContainsAny(bundle, `,:\"`) { // no character that means something there
		return mountAt("overlay", target, "overlay", flags, data)
	}
	data = d.data()
	if len(data) < os.Getpagesize() {
		return inDirectory(bundle, func() error {
			return mountAt("overlay", target, "overlay", flags, data)
		})
	}
	return d.mountByLayer(bundle, target, flags)
}

// in gives the directories with their whole names.
func (d overlayDirs) in(bundle string) overlayDirs {
	whole := overlayDirs{rest: d.rest}
	for _, l := range d.lower {
		whole.lower = append(whole.lower, inBundle(bundle, l))
	}
	if d.upper != "" {
		whole.upper, whole.work = inBundle(bundle, d.upper), inBundle(bundle, d.work)
	}
	return whole
}

func (d overlayDirs) data() string {
	opts := append([]string{"lowerdir=" + strings.Join(d.lower, ":")}, d.rest...)
	if d.upper != "" {
		opts = append(opts, "upperdir="+d.upper, "workdir="+d.work)
	}
	return strings.Join(opts, ",")
}

// makeUpper makes the writable directories if they are missing. The upper one
// is the container's root directory, so it gets owner and mode of the root
// directory that the image has.
func (d overlayDirs) makeUpper(bundle string) error {
	if err := os.MkdirAll(inBundle(bundle, d.work), 0o700); err != nil {
		return err
	}
	upper := inBundle(bundle, d.upper)
	if _, err := os.Lstat(upper); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(upper), 0o755); err != nil {
		return err
	}
	root, err := os.Stat(inBundle(bundle, d.lower[0]))
	if err != nil {
		return err
	}
	if err := os.Mkdir(upper, 0o755); err != nil {
		return err
	}
	if st, ok := root.Sys().(*syscall.Stat_t); ok {
		if err := os.Chown(upper, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(upper, root.Mode())
}

// forgetVolatile makes a volatile overlay mountable again: the kernel marks one,
// because a power cut may have damaged it. Who asks for a volatile one does not
// mind.
func (d overlayDirs) forgetVolatile(bundle string) error {
	if !slices.Contains(d.rest, "volatile") {
		return nil
	}
	return os.RemoveAll(filepath.Join(inBundle(bundle, d.work), "work", "incompat"))
}

// inDirectory runs f on a thread of its own that stands in a directory; the
// thread ends with it.
func inDirectory(dir string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is of no more use
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			done <- os.NewSyscallError("unshare CLONE_FS", err)
			return
		}
		if err := unix.Chdir(dir); err != nil {
			done <- &os.PathError{Op: "chdir", Path: dir, Err: err}
			return
		}
		done <- f()
	}()
	return <-done
}

// mountByLayer mounts an overlay with the calls of Linux 6.8 that have no
// limit on the length of all layers' names together.
func (d overlayDirs) mountByLayer(bundle, target string, flags uintptr) error {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fd)
	set := func(key, value string) {
		if err == nil && value != "" {
			err = os.NewSyscallError("fsconfig "+key, unix.FsconfigSetString(fd, key, inBundle(bundle, value)))
		}
	}
	for _, l := range d.lower {
		set("lowerdir+", l)
	}
	set("upperdir", d.upper)
	set("workdir", d.work)
	for _, opt := range d.rest {
		if key, value, ok := strings.Cut(opt, "="); err == nil && ok {
			err = os.NewSyscallError("fsconfig "+key, unix.FsconfigSetString(fd, key, value))
		} else if err == nil {
			err = os.NewSyscallError("fsconfig "+key, unix.FsconfigSetFlag(fd, key))
		}
	}
	if err != nil {
		return err
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return os.NewSyscallError("fsconfig create", err)
	}
	return attachMount(fd, target, flags)
}

// attachMount puts a configured file system at its place.
func attachMount(fd int, target string, flags uintptr) error {
	attrs := 0
	for flag, attr := range map[uintptr]int{
		unix.MS_RDONLY: unix.MOUNT_ATTR_RDONLY, unix.MS_NOSUID: unix.MOUNT_ATTR_NOSUID, unix.MS_NODEV: unix.MOUNT_ATTR_NODEV,
		unix.MS_NOEXEC: unix.MOUNT_ATTR_NOEXEC, unix.MS_NOATIME: unix.MOUNT_ATTR_NOATIME,
	} {
		if flags&flag != 0 {
			attrs |= attr
		}
	}
	mnt, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return os.NewSyscallError("fsmount", err)
	}
	defer unix.Close(mnt)
	return os.NewSyscallError("move_mount", unix.MoveMount(mnt, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH))
}
