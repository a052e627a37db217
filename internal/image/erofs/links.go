package erofs

import (
	"encoding/binary"
	"fmt"
	"os"
	"path"
)

// A hard link is a further name of one inode. go-erofs gives each name an inode
// of its own, so it gets to see a file's first name as it is and the others as
// empty files, and when the image is written, the directory entries of those
// are pointed at the first's inode. What stays of them is an unused inode each.

// links is what the names of one inode have in common.
type links struct {
	count int
	first string // the first name's path, in the order of the image
	nid   uint64 // the inode's number
}

// alias says whether the node at p is one with another name before p.
func (n *node) alias(p string) bool { return n.links != nil && n.links.first != p }

// countLinks counts the names of hard-linked nodes below a directory and notes
// the directories on the way to them.
func (t *tree) countLinks(dir *node, at string) {
	for _, name := range dir.names() {
		c, p := dir.children[name], path.Join(at, name)
		switch {
		case c.mode.IsDir():
			t.countLinks(c, p)
			if t.linkDirs[c] {
				t.linkDirs[dir] = true
			}
		case c.links != nil:
			if c.links.count++; c.links.count == 1 {
				c.links.first = p
			}
			t.linkDirs[dir] = true
		}
	}
}

// rename is a directory entry to be pointed at another inode.
type rename struct {
	off int64 // of the entry's inode number in the image
	to  *links
}

// joinLinks points the further names of hard-linked inodes at them in a
// written image.
func (t *tree) joinLinks(f *os.File) error {
	if len(t.linkDirs) == 0 {
		return nil
	}
	img, root, err := openImage(f)
	if err != nil {
		return err
	}
	renames, err := t.renames(img, t.root, root, "", nil)
	if err != nil {
		return err
	}
	for _, r := range renames {
		if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, r.to.nid), r.off); err != nil {
			return err
		}
	}
	return nil
}

// renames finds the inodes and entries below a directory.
func (t *tree) renames(img image, dir *node, nid uint64, at string, found []rename) ([]rename, error) {
	entries, err := img.entries(nid)
	if err != nil {
		return nil, fmt.Errorf("the directory %q: %w", at, err)
	}
	for _, name := range dir.names() {
		c, p := dir.children[name], path.Join(at, name)
		if c.links == nil && !t.linkDirs[c] {
			continue
		}
		e, ok := entries[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("the directory %q: %q is not in it", at, name)
		case c.mode.IsDir():
			if found, err = t.renames(img, c, e.nid, p, found); err != nil {
				return nil, err
			}
		case c.alias(p):
			found = append(found, rename{e.off, c.links})
		default:
			c.links.nid = e.nid
		}
	}
	return found, nil
}

// image reads the directories of an image that was just written. The format is
// that of linux/fs/erofs/erofs_fs.h.
type image struct {
	f    *os.File
	meta int64 // where inode 0 is
}

const (
	superOffset  = 1024
	direntSize   = 12
	layoutPlain  = 0
	layoutInline = 2
)

func openImage(f *os.File) (image, uint64, error) {
	super := make([]byte, 128)
	if _, err := f.ReadAt(super, superOffset); err != nil {
		return image{}, 0, err
	}
	meta := binary.LittleEndian.Uint32(super[40:])
	return image{f, int64(meta) * blockSize}, uint64(binary.LittleEndian.Uint16(super[14:])), nil
}

// dirent is one entry: the inode, and where its number stands.
type dirent struct {
	nid uint64
	off int64
}

// entries reads a directory by the number of its inode.
func (m image) entries(nid uint64) (map[string]dirent, error) {
	off, size, err := m.data(nid)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, size)
	if _, err := m.f.ReadAt(raw, off); err != nil {
		return nil, err
	}
	found := map[string]dirent{}
	for at := 0; at < len(raw); at += blockSize {
		block := raw[at:min(at+blockSize, len(raw))]
		if err := addEntries(found, block, off+int64(at)); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// addEntries reads one block of a directory, which begins at off.
func addEntries(found map[string]dirent, block []byte, off int64) error {
	broken := fmt.Errorf("a block of it, at byte %d, is not as it should be", off)
	nameOff := func(i int) int { return int(binary.LittleEndian.Uint16(block[i*direntSize+8:])) }
	if len(block) < direntSize {
		return broken
	}
	n := nameOff(0) / direntSize
	if n*direntSize > len(block) {
		return broken
	}
	for i := range n {
		begin, end := nameOff(i), len(block)
		if i+1 < n {
			end = nameOff(i + 1)
		}
		if begin > end || end > len(block) {
			return broken
		}
		name := block[begin:end]
		for len(name) > 0 && name[len(name)-1] == 0 { // the last name is padded
			name = name[:len(name)-1]
		}
		found[string(name)] = dirent{binary.LittleEndian.Uint64(block[i*direntSize:]), off + int64(i)*direntSize}
	}
	return nil
}

// data finds where the content of a directory's inode is.
func (m image) data(nid uint64) (off, size int64, err error) {
	const compact, extended = 32, 64
	at := m.meta + int64(nid)*compact
	raw := make([]byte, compact)
	if _, err := m.f.ReadAt(raw, at); err != nil {
		return 0, 0, err
	}
	format, xattrs := binary.LittleEndian.Uint16(raw), binary.LittleEndian.Uint16(raw[2:])
	size, off = int64(binary.LittleEndian.Uint32(raw[8:])), compact
	if format&1 != 0 {
		size, off = int64(binary.LittleEndian.Uint64(raw[8:])), extended
	}
	if xattrs > 0 {
		off += 12 + 4*(int64(xattrs)-1)
	}
	switch format >> 1 & 7 {
	case layoutPlain:
		return int64(binary.LittleEndian.Uint32(raw[16:])) * blockSize, size, nil
	case layoutInline:
		return at + off, size, nil
	default:
		return 0, 0, fmt.Errorf("its inode %d has the unknown layout %d", nid, format>>1&7)
	}
}
