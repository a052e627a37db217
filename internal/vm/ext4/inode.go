package ext4

import "encoding/binary"

// Modes and flags of an inode.
const (
	modeDir  = 0o040000
	modeFile = 0o100000

	flagExtents = 0x80000

	// extraSize is how many bytes of an inode beyond its first 128 are used.
	extraSize = 32
)

// inode returns the inode of a file or directory of root's, whose count blocks
// lie together from first on.
func inode(mode, links uint16, first, count int64, id identity) []byte {
	b := make([]byte, inodeSize)
	now, fraction := uint32(id.created.Unix()), uint32(id.created.Nanosecond())<<2
	le.PutUint16(b[0x00:], mode)
	le.PutUint32(b[0x04:], uint32(count*blockSize))
	for _, at := range []int{0x08, 0x0c, 0x10, 0x90} { // access, change, modification, birth
		le.PutUint32(b[at:], now)
	}
	le.PutUint16(b[0x1a:], links)
	le.PutUint32(b[0x1c:], uint32(count*blockSize/512))
	le.PutUint32(b[0x20:], flagExtents)
	copy(b[0x28:], blockMap(first, count))
	le.PutUint16(b[0x80:], extraSize)
	for _, at := range []int{0x84, 0x88, 0x8c, 0x94} { // change, modification, access, birth
		le.PutUint32(b[at:], fraction)
	}
	return b
}

// blockMap returns an inode's map: an extent tree with one leaf.
func blockMap(first, count int64) []byte {
	b := make([]byte, 60)
	le.PutUint16(b[0:], 0xf30a) // magic
	le.PutUint16(b[2:], 1)      // entries
	le.PutUint16(b[4:], 4)      // room for
	le.PutUint16(b[16:], uint16(count))
	le.PutUint32(b[20:], uint32(first))
	return b
}

// entry is a directory's entry for another directory.
type entry struct {
	inode uint32
	name  string
}

// directory returns the block of a directory that holds nothing but
// directories.
func directory(self, parent uint32, children ...entry) []byte {
	b := make([]byte, blockSize)
	entries := append([]entry{{self, "."}, {parent, ".."}}, children...)
	at := 0
	for i, e := range entries {
		length := (8 + len(e.name) + 3) &^ 3
		if i == len(entries)-1 {
			length = blockSize - at
		}
		const isDir = 2
		le.PutUint32(b[at:], e.inode)
		le.PutUint16(b[at+4:], uint16(length))
		b[at+6] = byte(len(e.name))
		b[at+7] = isDir
		copy(b[at+8:], e.name)
		at += length
	}
	return b
}

// journalSuperblock returns the first block of an empty journal, which is big
// endian (Documentation/filesystems/ext4/journal.rst in Linux).
func journalSuperblock(l layout, id identity) []byte {
	b := make([]byte, 1024)
	be := binary.BigEndian
	be.PutUint32(b[0x00:], 0xc03b3998) // magic
	be.PutUint32(b[0x04:], 4)          // superblock, version 2
	be.PutUint32(b[0x0c:], blockSize)
	be.PutUint32(b[0x10:], uint32(l.journalBlocks))
	be.PutUint32(b[0x14:], 1) // first block of the log
	be.PutUint32(b[0x18:], 1) // first transaction
	copy(b[0x30:], id.uuid[:])
	be.PutUint32(b[0x40:], 1) // users
	return b
}
