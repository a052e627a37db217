package executor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// AllDevicesAnnotation, when "true" in a runtime spec, adds every device node
// that this system has: a privileged container in a machine, whose devices
// only the machine knows.
const AllDevicesAnnotation = "bothy.all-devices"

// addAllDevices adds the device nodes below dir to the spec, those of
// terminals, shared memory and message queues left out, which a container has
// of its own.
func addAllDevices(spec *specs.Spec, dir string) error {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // it went while we looked
			return nil
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "pts" || entry.Name() == "shm" || entry.Name() == "mqueue"):
			return fs.SkipDir
		case entry.Type()&fs.ModeDevice == 0 || entry.Name() == "console" || entry.Name() == "ptmx":
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return nil
		}
		kind := "b"
		if st.Mode&unix.S_IFMT == unix.S_IFCHR {
			kind = "c"
		}
		mode := os.FileMode(st.Mode & 0o777)
		spec.Linux.Devices = append(spec.Linux.Devices, specs.LinuxDevice{
			Path: path, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
		})
		return nil
	})
	return wrap(err, "listing the devices below %s", dir)
}
