package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const defaultDeviceMode = os.FileMode(0o666)

// HostDevices is Devices on this host.
type HostDevices struct {
	Dev string // the host's "/dev"
}

// Device describes one node; a symbolic link is followed.
func (HostDevices) Device(path string) (specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return specs.LinuxDevice{}, notFoundf("%s: no such device on this host", path)
		}
		return specs.LinuxDevice{}, invalidf("%s: %v", path, err)
	}
	var kind string
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		kind = "b"
	case unix.S_IFCHR:
		kind = "c"
	default:
		return specs.LinuxDevice{}, invalidf("%s is not a device node", path)
	}
	mode := os.FileMode(st.Mode & 0o777)
	return specs.LinuxDevice{
		Path: path, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
	}, nil
}

// Below lists the device nodes below a directory. Symbolic links are left out,
// and so is what disappears while it looks.
func (h HostDevices) Below(dir string) ([]specs.LinuxDevice, error) {
	var found []specs.LinuxDevice
	dir = filepath.Clean(dir)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case entry.IsDir() && path != dir && slices.Contains([]string{"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"}, entry.Name()):
			return fs.SkipDir
		case entry.Type()&fs.ModeDevice == 0 || path == filepath.Join(h.Dev, "console"):
			return nil
		}
		d, err := h.Device(path)
		if errdefs.IsNotFound(err) {
			return nil
		}
		found = append(found, d)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing devices below %s: %w", dir, err)
	}
	return found, nil
}

// IsDir says whether the path is a directory.
func (HostDevices) IsDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
