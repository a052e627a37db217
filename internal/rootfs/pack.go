package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// copySize is the size in bytes of the pieces that files are copied in.
const copySize = 128 << 10

// inode names a file by what a hard link shares.
type inode struct{ dev, ino uint64 }

// packer writes files into a tar archive.
type packer struct {
	ctx   context.Context
	out   *tar.Writer
	buf   []byte
	zeros []byte
	attrs attributes
	seen  map[inode]string // files with several names: the first of them in the archive
}

func newPacker(ctx context.Context, w io.Writer) *packer {
	return &packer{ctx: ctx, out: tar.NewWriter(w), buf: make([]byte, copySize), zeros: make([]byte, copySize), seen: map[inode]string{}}
}

// pack writes the file or directory at a path that lookup has found, all of the
// names in the archive beginning with the last of that path's.
func (t tree) pack(ctx context.Context, w io.Writer, abs string, handle *os.File, st unix.Stat_t) error {
	p := newPacker(ctx, w)
	name := path.Base(abs)
	if name == "/" { // docker's own form, which its clients rebase
		name = ""
	}
	if err := p.tree(handle, name, st, 0); err != nil {
		return fmt.Errorf("packing %s: %w", abs, err)
	}
	return p.out.Close()
}

// export writes all that is beneath a directory, the names relative to it.
func export(ctx context.Context, w io.Writer, root *os.File) error {
	p := newPacker(ctx, w)
	if err := p.children(root, "", 0); err != nil {
		return fmt.Errorf("packing the root file system: %w", err)
	}
	return p.out.Close()
}

// tree writes a file, and what is below it if it is a directory.
func (p *packer) tree(handle *os.File, name string, st unix.Stat_t, depth int) error {
	if err := p.file(handle, name, &st); err != nil {
		return err
	}
	if !isDir(&st) {
		return nil
	}
	return p.children(handle, name+"/", depth)
}

// children writes what is below a directory, the names beginning with prefix.
func (p *packer) children(dir *os.File, prefix string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%.60s...: directories lie more than %d deep in one another: %w", prefix, maxDepth, errdefs.ErrFailedPrecondition)
	}
	if kernelMade(dir) {
		return nil
	}
	all, err := names(dir)
	if err != nil {
		return err
	}
	for _, base := range all {
		if err := p.child(dir, base, prefix+base, depth); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) child(dir *os.File, base, name string, depth int) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	handle, err := openName(dir, base)
	if errors.Is(err, os.ErrNotExist) {
		return nil // gone since
	}
	if err != nil {
		return err
	}
	defer handle.Close()
	st, err := fstat(handle)
	if err != nil {
		return err
	}
	return p.tree(handle, name, st, depth+1)
}

// file writes one file.
func (p *packer) file(handle *os.File, name string, st *unix.Stat_t) error {
	h, err := header(handle, name, st)
	if err != nil || h == nil {
		return err
	}
	if st.Nlink > 1 && !isDir(st) {
		id := inode{st.Dev, st.Ino}
		if first, ok := p.seen[id]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.out.WriteHeader(h)
		}
		p.seen[id] = name
	}
	if h.Size > 0 {
		return p.regular(handle, h, st)
	}
	if err := p.attrs.addTo(h, handle, false); err != nil {
		return err
	}
	return p.out.WriteHeader(h)
}

// regular writes a file that has content.
func (p *packer) regular(handle *os.File, h *tar.Header, st *unix.Stat_t) error {
	file, err := reopen(handle, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := p.attrs.addTo(h, file, true); err != nil {
		return err
	}
	if err := p.out.WriteHeader(h); err != nil {
		return err
	}
	if st.Size > copySize && st.Blocks*512 < st.Size {
		return p.sparse(file, h.Size)
	}
	n, err := p.copy(file, 0, h.Size)
	if err != nil {
		return err
	}
	return p.fill(h.Size - n) // it has become shorter
}

// sparse writes size bytes of a file: zeros where it has a hole or has become
// shorter.
func (p *packer) sparse(file *os.File, size int64) error {
	for at := int64(0); at < size; {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		data, hole := nextData(file, at, size)
		if err := p.fill(data - at); err != nil {
			return err
		}
		n, err := p.copy(file, data, hole)
		if err != nil {
			return err
		}
		at = data + n
		if n < hole-data { // it has become shorter
			return p.fill(size - at)
		}
	}
	return nil
}

// nextData gives the next part of a file from at on that is no hole.
func nextData(file *os.File, at, size int64) (data, hole int64) {
	data, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size
	}
	if err != nil || data < at { // not every file system knows
		return at, size
	}
	hole, err = unix.Seek(int(file.Fd()), data, unix.SEEK_HOLE)
	if err != nil || hole <= data {
		hole = size
	}
	return min(data, size), min(hole, size)
}

// copy writes the bytes from from to to, and says how many there were.
func (p *packer) copy(file *os.File, from, to int64) (int64, error) {
	for at := from; at < to; {
		if err := p.ctx.Err(); err != nil {
			return 0, err
		}
		n, err := file.ReadAt(p.buf[:min(int64(len(p.buf)), to-at)], at)
		if _, werr := p.out.Write(p.buf[:n]); werr != nil {
			return 0, werr
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return at - from, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return to - from, nil
}

func (p *packer) fill(n int64) error {
	for n > 0 {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		w, err := p.out.Write(p.zeros[:min(int64(len(p.zeros)), n)])
		if err != nil {
			return err
		}
		n -= int64(w)
	}
	return nil
}

// kernelMade says whether a directory's content is made up by the kernel: it is
// no file of the container, may be without end, and shows in no archive.
func kernelMade(dir *os.File) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(int(dir.Fd()), &st) != nil {
		return false
	}
	switch int64(uint32(st.Type)) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC,
		unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.EFIVARFS_MAGIC, unix.NSFS_MAGIC, mqueueMagic:
		return true
	}
	return false
}

// mqueueMagic is that of POSIX message queues' file system, which package unix
// has no name for.
const mqueueMagic = 0x19800202
