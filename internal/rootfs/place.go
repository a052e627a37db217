package rootfs

import (
	"archive/tar"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// place makes anything but a directory: under a name of its own, which it swaps
// for the right one when it is whole.
func (u *unpacker) place(dir *os.File, base, name string, h *tar.Header, content io.Reader) error {
	tmp := ".bothy-" + randomName()
	made, err := u.make(dir, tmp, h, content)
	if err != nil {
		return err
	}
	if made != nil {
		defer made.Close()
	}
	defer func() { _ = unix.Unlinkat(int(dir.Fd()), tmp, 0) }() // it is there after an error, and where both names are one file's
	err = unix.Renameat(int(dir.Fd()), tmp, int(dir.Fd()), base)
	if errors.Is(err, unix.EBUSY) && h.Typeflag == tar.TypeReg {
		return u.overwrite(dir, base, made, h) // something is mounted there
	}
	if err != nil {
		return &os.PathError{Op: "rename", Path: name, Err: err}
	}
	return nil
}

func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, says its documentation
	return hex.EncodeToString(b[:])
}

// make makes the file tmp; a regular one is returned, open. If it fails, tmp is
// not there.
func (u *unpacker) make(dir *os.File, tmp string, h *tar.Header, content io.Reader) (_ *os.File, err error) {
	fd := int(dir.Fd())
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return u.makeFile(dir, tmp, h, content)
	case tar.TypeLink:
		return nil, u.link(dir, tmp, h.Linkname)
	case tar.TypeSymlink:
		err = unix.Symlinkat(h.Linkname, fd, tmp)
	case tar.TypeChar:
		err = unix.Mknodat(fd, tmp, unix.S_IFCHR, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	case tar.TypeBlock:
		err = unix.Mknodat(fd, tmp, unix.S_IFBLK, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	case tar.TypeFifo:
		err = unix.Mknodat(fd, tmp, unix.S_IFIFO, 0)
	default:
		return nil, fmt.Errorf("it is of a kind (%q) that no file system has: %w", h.Typeflag, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return nil, &os.PathError{Op: "make", Path: tmp, Err: err}
	}
	handle, err := openName(dir, tmp)
	if err == nil {
		err = errors.Join(u.dress(handle, h), setTime(handle, h), handle.Close())
	}
	if err != nil {
		_ = unix.Unlinkat(fd, tmp, 0)
	}
	return nil, err
}

func (u *unpacker) makeFile(dir *os.File, tmp string, h *tar.Header, content io.Reader) (_ *os.File, err error) {
	fd, err := unix.Openat(int(dir.Fd()), tmp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: tmp, Err: err}
	}
	file := os.NewFile(uintptr(fd), tmp)
	err = u.write(file, content)
	if err == nil {
		err = u.dress(file, h)
	}
	if err == nil {
		err = setTime(file, h)
	}
	if err != nil {
		file.Close()
		_ = unix.Unlinkat(int(dir.Fd()), tmp, 0)
		return nil, err
	}
	return file, nil
}

// write writes a file's content and leaves holes where it is zero.
func (u *unpacker) write(file *os.File, content io.Reader) error {
	for at := int64(0); ; {
		n, err := io.ReadFull(content, u.buf)
		if piece := u.buf[:n]; n > 0 && !allZero(piece) {
			if _, werr := file.WriteAt(piece, at); werr != nil {
				return werr
			}
		}
		at += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			return file.Truncate(at)
		case errors.Is(err, io.ErrUnexpectedEOF) && n > 0 && n < len(u.buf):
			// Either the file's end or the archive's: the next read tells.
		case err != nil:
			return err
		}
	}
}

// link makes a further name of a file that the archive names by its path.
func (u *unpacker) link(dir *os.File, tmp, target string) error {
	name, err := entryName(target)
	if err != nil {
		return err
	}
	from, err := u.t.open(path.Join(u.dest, path.Dir(name)), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := unix.Linkat(int(from.Fd()), path.Base(name), int(dir.Fd()), tmp, 0); err != nil {
		return &os.LinkError{Op: "link", Old: name, New: tmp, Err: err}
	}
	return nil
}

// overwrite copies a file over one that cannot be replaced, because something is
// mounted on it.
func (u *unpacker) overwrite(dir *os.File, base string, made *os.File, h *tar.Header) error {
	handle, err := openName(dir, base)
	if err != nil {
		return err
	}
	defer handle.Close()
	if st, err := fstat(handle); err != nil || !isReg(&st) {
		return errors.Join(err, &os.PathError{Op: "replace", Path: base, Err: unix.EBUSY})
	}
	file, err := reopen(handle, unix.O_WRONLY|unix.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = made.Seek(0, io.SeekStart)
	if err == nil {
		_, err = io.Copy(file, made)
	}
	if err == nil {
		err = u.dress(file, h)
	}
	return errors.Join(err, file.Close())
}

// dress gives a file owner, mode and extended attributes.
func (u *unpacker) dress(file *os.File, h *tar.Header) error {
	who := owner{h.Uid, h.Gid}
	if u.owner != nil {
		who = *u.owner
	}
	if err := unix.Fchownat(int(file.Fd()), "", who.uid, who.gid, unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "chown", Path: h.Name, Err: err}
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Chmod(procPath(file), uint32(h.Mode)&0o7777); err != nil {
			return &os.PathError{Op: "chmod", Path: h.Name, Err: err}
		}
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok || !travels(name) {
			continue
		}
		err := unix.Setxattr(procPath(file), name, []byte(value), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return &os.PathError{Op: "setxattr " + name, Path: h.Name, Err: err}
		}
	}
	return nil
}

func timespec(h *tar.Header) unix.Timespec {
	return unix.Timespec{Sec: h.ModTime.Unix(), Nsec: int64(h.ModTime.Nanosecond())}
}

func setTime(file *os.File, h *tar.Header) error {
	t := timespec(h)
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, procPath(file), []unix.Timespec{t, t}, 0); err != nil {
		return &os.PathError{Op: "utimes", Path: h.Name, Err: err}
	}
	return nil
}

// removeAll removes what has a name in a directory, with all that is below it.
func removeAll(dir *os.File, name string) error {
	root, err := os.OpenRoot(procPath(dir))
	if err != nil {
		return err
	}
	defer root.Close()
	return root.RemoveAll(name)
}
