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
// not overlay's own, nor what a security module has given it here. One that no
// archive has a way to name stays too.
func travels(name string) bool {
	switch {
	case strings.HasPrefix(name, overlayPrefix), strings.Contains(name, "="):
		return false
	case name == "security.capability", strings.HasPrefix(name, "user."), strings.HasPrefix(name, "trusted."):
		return true
	}
	return name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

// header describes a file that there is an O_PATH handle of, without its extended
// attributes; nil: no archive can hold it.
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
	return h, err
}

// attributes reads extended attributes: of a file that is open, or of one that
// there is an O_PATH handle of, which takes a path. Its buffer serves all files.
type attributes struct{ buf [maxXattrs]byte }

// addTo adds those that travel to a header.
func (a *attributes) addTo(h *tar.Header, file *os.File, open bool) error {
	list, get := listPath, getPath
	if open {
		list, get = listOpen, getOpen
	}
	n, err := list(file, a.buf[:])
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || n == 0 && err == nil {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "listxattr", Path: file.Name(), Err: err}
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(a.buf[:n]), "\x00"), "\x00") {
		if !travels(name) {
			continue
		}
		n, err := get(file, name, a.buf[:])
		if errors.Is(err, unix.ENODATA) {
			continue // gone since
		}
		if err != nil {
			return &os.PathError{Op: "getxattr " + name, Path: file.Name(), Err: err}
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[paxXattr+name] = string(a.buf[:n])
	}
	return nil
}

func listPath(f *os.File, buf []byte) (int, error) { return unix.Listxattr(procPath(f), buf) }
func listOpen(f *os.File, buf []byte) (int, error) { return unix.Flistxattr(int(f.Fd()), buf) }
func getPath(f *os.File, name string, buf []byte) (int, error) {
	return unix.Getxattr(procPath(f), name, buf)
}
func getOpen(f *os.File, name string, buf []byte) (int, error) {
	return unix.Fgetxattr(int(f.Fd()), name, buf)
}

// hasXattr says whether a file that there is an O_PATH handle of has an extended
// attribute, with a short value.
func hasXattr(handle *os.File, name string, value string) bool {
	buf := make([]byte, len(value)+1)
	n, err := unix.Getxattr(procPath(handle), name, buf)
	return err == nil && string(buf[:n]) == value
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
