package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// owner is a user and group id.
type owner struct{ uid, gid int }

// unpacker puts the entries of an archive below a directory of a tree.
type unpacker struct {
	t            tree
	dest         string // resolved, absolute in the tree
	keepKinds    bool   // refuse to replace a directory by something else, or the other way round
	owner        *owner // of all that is made; nil: the archive says
	buf          []byte
	parent       *os.File // of the latest entry
	parentName   string
	dirTimes     []dirTime // set when nothing is put into the directories any more
	dirTimeBytes int
}

// dirTime is when a directory was changed last, as an archive says.
type dirTime struct {
	name string
	at   unix.Timespec
}

// maxDirTimes bounds in bytes what is remembered of directories until an
// archive's end. Those past it show when they were unpacked.
const maxDirTimes = 32 << 20

// writable finds the directory that an archive is to be unpacked in.
func (t tree) writable(name string) (resolved string, err error) {
	resolved, err = t.resolve(absolute(name))
	if err != nil {
		return "", err
	}
	dir, err := t.open(resolved, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	st, err := fstat(dir)
	if err != nil {
		return "", err
	}
	if !isDir(&st) {
		return "", plain(errdefs.ErrInvalidArgument, "extraction point is not a directory")
	}
	if err := unix.Faccessat(int(dir.Fd()), ".", unix.W_OK, 0); errors.Is(err, unix.EROFS) {
		if st.Dev == deviceOf(t.root) {
			return "", plain(errdefs.ErrInvalidArgument, "container rootfs is marked read-only")
		}
		return "", plain(errdefs.ErrInvalidArgument, "mounted volume is marked read-only")
	}
	return resolved, nil
}

// deviceOf gives the device that a file lies on; 0 if that cannot be told.
func deviceOf(f *os.File) uint64 {
	st, err := fstat(f)
	if err != nil {
		return 0
	}
	return st.Dev
}

// unpack puts an archive below a directory that writable has found. Whatever the
// archive's names, links, and the container meanwhile do: nothing is made
// outside the tree.
func (t tree) unpack(ctx context.Context, r io.Reader, dest string, keepKinds bool, o *owner) error {
	u := &unpacker{t: t, dest: dest, keepKinds: keepKinds, owner: o, buf: make([]byte, copySize)}
	defer u.close()
	archive := tar.NewReader(r)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			u.setDirTimes()
			// What follows the archive's end belongs to the stream still.
			_, err := io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return archiveError(err, n)
		}
		err = u.entry(h, archive)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return archiveError(err, n)
		}
		if err != nil {
			return err
		}
	}
}

// archiveError says what is wrong with an archive after n entries.
func archiveError(err error, n int) error {
	switch {
	case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong):
		return fmt.Errorf("the archive is broken after %d entries: %w: %w", n, err, errdefs.ErrInvalidArgument)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the archive is cut off after %d entries: %w", n, errdefs.ErrInvalidArgument)
	}
	return fmt.Errorf("reading the archive: %w", err)
}

func (u *unpacker) close() {
	if u.parent != nil {
		u.parent.Close()
	}
}

// entry makes one file.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := entryName(h.Name)
	if err != nil {
		return err
	}
	if name == "." { // the directory that is unpacked in
		return nil
	}
	dir, err := u.directory(path.Dir(name))
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", name, err)
	}
	base := path.Base(name)
	if err := u.makeRoom(dir, base, h); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		err = u.makeDir(dir, base, name, h)
	} else {
		err = u.place(dir, base, name, h, content)
	}
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", name, err)
	}
	return nil
}

// entryName makes a name of an archive relative and clean, "." being the
// directory that is unpacked in. One that climbs out is refused.
func entryName(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if strings.ContainsRune(name, 0) || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("the archive's entry %.200q lies outside the directory that it is unpacked in: %w", name, errdefs.ErrInvalidArgument)
	}
	return clean, nil
}

// directory gives the directory below the destination that an entry lies in,
// and makes what is missing. It is the unpacker's to close.
func (u *unpacker) directory(name string) (*os.File, error) {
	if u.parent != nil && u.parentName == name {
		return u.parent, nil
	}
	dir, err := u.t.open(path.Join(u.dest, name), unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, os.ErrNotExist) {
		dir, err = u.makeDirs(name)
	}
	if err != nil {
		return nil, err
	}
	if u.parent != nil {
		u.parent.Close()
	}
	u.parent, u.parentName = dir, name
	return dir, nil
}

// makeDirs makes a directory that an archive names only as part of a longer
// path, and those above it.
func (u *unpacker) makeDirs(name string) (*os.File, error) {
	at := u.dest
	for _, part := range strings.Split(name, "/") {
		dir, err := u.t.open(at, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return nil, err
		}
		err = unix.Mkdirat(int(dir.Fd()), part, 0o755)
		if err == nil && u.owner != nil {
			err = unix.Fchownat(int(dir.Fd()), part, u.owner.uid, u.owner.gid, unix.AT_SYMLINK_NOFOLLOW)
		}
		dir.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, &os.PathError{Op: "mkdir", Path: part, Err: err}
		}
		at = path.Join(at, part)
	}
	return u.t.open(at, unix.O_PATH|unix.O_DIRECTORY)
}

// makeRoom removes what an entry replaces and what a rename would not. The
// texts of its refusals are docker's.
func (u *unpacker) makeRoom(dir *os.File, base string, h *tar.Header) error {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "stat", Path: base, Err: err}
	}
	from, to := isDir(&st), h.Typeflag == tar.TypeDir
	if from == to {
		return nil
	}
	full := path.Join(u.dest, u.parentName, base)
	if u.keepKinds && from {
		return plain(errdefs.ErrInvalidArgument, "cannot overwrite directory %q with non-directory %q", full, u.dest)
	}
	if u.keepKinds {
		return plain(errdefs.ErrInvalidArgument, "cannot overwrite non-directory %q with directory %q", full, u.dest)
	}
	return removeAll(dir, base)
}

// makeDir makes a directory, or gives one that is there the entry's looks.
func (u *unpacker) makeDir(dir *os.File, base, name string, h *tar.Header) error {
	if err := unix.Mkdirat(int(dir.Fd()), base, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: base, Err: err}
	}
	fd, err := unix.Openat(int(dir.Fd()), base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: base, Err: err}
	}
	made := os.NewFile(uintptr(fd), base)
	defer made.Close()
	if err := u.dress(made, h); err != nil {
		return err
	}
	if u.dirTimeBytes += len(name) + 64; u.dirTimeBytes <= maxDirTimes {
		u.dirTimes = append(u.dirTimes, dirTime{name, timespec(h)})
	}
	return nil
}

// setDirTimes sets directories' times. One that has gone, or is something else
// now, has none to be set.
func (u *unpacker) setDirTimes() {
	for i := len(u.dirTimes) - 1; i >= 0; i-- {
		d := u.dirTimes[i]
		dir, err := u.t.open(path.Join(u.dest, d.name), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err != nil {
			continue
		}
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, procPath(dir), []unix.Timespec{d.at, d.at}, 0)
		dir.Close()
	}
}

// plain is an error whose text is docker's to the letter, with a kind that does
// not show in it.
func plain(kind error, format string, args ...any) error {
	return &plainError{text: fmt.Sprintf(format, args...), kind: kind}
}

type plainError struct {
	text string
	kind error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.kind }
