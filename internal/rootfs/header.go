package rootfs

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	paxXattr      = "SCHILY.xattr."
	overlayPrefix = "trusted.overlay."
	// maxXattrs bounds in bytes the list of a file's extended attributes, and
	// each value: the kernel's own limit.
	maxXattrs = 64 << 10
)

// travels says whether an extended attribute belongs to a file wherever it is:
// not overlay's own, nor what a security module has given it here.
func travels(name string) bool {
	switch {
	case strings.HasPrefix(name, overlayPrefix):
		return false
	case name == "security.capability", strings.HasPrefix(name, "user."), strings.HasPrefix(name, "trusted."):
		return true
	}
	return name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

// header describes a file that there is an O_PATH handle of.
func header(handle *os.File, name string, st *unix.Stat_t) (*tar.Header, error) {
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		h.Linkname, err = readlink(handle)
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default: // a socket: it is nothing without who listens on it
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return h, xattrsInto(h, handle)
}

// xattrsInto adds the extended attributes that travel.
func xattrsInto(h *tar.Header, handle *os.File) error {
	list, err := xattrs(handle)
	if err != nil {
		return err
	}
	for _, name := range list {
		if !travels(name) {
			continue
		}
		value, err := xattr(handle, name)
		if errors.Is(err, unix.ENODATA) {
			continue // gone since
		}
		if err != nil {
			return err
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[paxXattr+name] = value
	}
	return nil
}

// xattrs lists a file's extended attributes; none where there cannot be any.
func xattrs(handle *os.File) ([]string, error) {
	buf := make([]byte, maxXattrs)
	n, err := unix.Listxattr(procPath(handle), buf)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "listxattr", Path: handle.Name(), Err: err}
	}
	return strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }), nil
}

func xattr(handle *os.File, name string) (string, error) {
	small := make([]byte, 256)
	n, err := unix.Getxattr(procPath(handle), name, small)
	if errors.Is(err, unix.ERANGE) {
		small = make([]byte, maxXattrs)
		n, err = unix.Getxattr(procPath(handle), name, small)
	}
	if err != nil {
		return "", &os.PathError{Op: "getxattr " + name, Path: handle.Name(), Err: err}
	}
	return string(small[:n]), nil
}

// fileMode gives a mode in Go's bits, which is what docker's clients read.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for bit, to := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= to
		}
	}
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		m |= fs.ModeDir
	case unix.S_IFLNK:
		m |= fs.ModeSymlink
	case unix.S_IFCHR:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		m |= fs.ModeDevice
	case unix.S_IFIFO:
		m |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		m |= fs.ModeSocket
	}
	return m
}
