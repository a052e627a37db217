package ext4

import (
	"encoding/binary"
	"time"
)

// The on-disk format is documented in Linux, Documentation/filesystems/ext4,
// whose offsets are used below. Integers are little endian.
var le = binary.LittleEndian

// Inode numbers.
const (
	rootInode    = 2
	journalInode = 8
	lostInode    = 11 // lost+found, the first that is not reserved
)

// Features, by the set that they are in.
const (
	compatJournal      = 0x4
	compatXattr        = 0x8
	compatDirIndex     = 0x20
	compatSparseSuper2 = 0x200 // backups only where the superblock says: nowhere

	incompatFileType = 0x2
	incompatExtents  = 0x40
	incompatFlexBG   = 0x200

	roLargeFile  = 0x2
	roHugeFile   = 0x8
	roUninitBG   = 0x10 // group descriptors have flags and checksums
	roDirNlink   = 0x20
	roExtraIsize = 0x40
)

// Flags of a group descriptor.
const (
	groupInodeUninit = 0x1 // no inode bitmap: none is taken
	groupBlockUninit = 0x2 // no block bitmap: none is taken
	groupZeroed      = 0x4 // the inode table is zero
)

// identity is what tells one file system from another.
type identity struct {
	uuid     [16]byte
	hashSeed [16]byte
	created  time.Time
}

// piece is a run of bytes of an image; what no piece covers is zero.
type piece struct {
	block  int64
	offset int64 // bytes behind the beginning of block
	data   []byte
}

// format returns the pieces of an empty file system.
func format(l layout, id identity) []piece {
	pieces := []piece{
		{block: 0, offset: 1024, data: superblock(l, id)},
		{block: 1, data: descriptors(l, id)},
	}
	for g := range l.groups {
		if l.hasBlockBitmap(g) {
			d := l.group(g)
			pieces = append(pieces, piece{block: d.blockBitmap, data: bitmap(d.used, d.blocks)})
		}
	}
	first := l.group(0)
	pieces = append(pieces,
		piece{block: first.inodeBitmap, data: bitmap(first.inodes, inodesPerGroup)},
		piece{block: l.rootBlock, data: directory(rootInode, rootInode, entry{lostInode, "lost+found"})},
		piece{block: l.lostBlock, data: directory(lostInode, rootInode)},
		piece{block: l.journal, data: journalSuperblock(l, id)},
	)
	tableAt := func(number int64, data []byte) piece {
		return piece{block: first.inodeTable, offset: (number - 1) * inodeSize, data: data}
	}
	return append(pieces,
		tableAt(rootInode, inode(modeDir|0o755, 3, l.rootBlock, 1, id)),
		tableAt(journalInode, inode(modeFile|0o600, 1, l.journal, l.journalBlocks, id)),
		tableAt(lostInode, inode(modeDir|0o700, 2, l.lostBlock, 1, id)),
	)
}

func superblock(l layout, id identity) []byte {
	b := make([]byte, 1024)
	now := uint32(id.created.Unix())
	le.PutUint32(b[0x00:], uint32(l.groups*inodesPerGroup))
	le.PutUint32(b[0x04:], uint32(l.blocks))
	le.PutUint32(b[0x0c:], uint32(l.freeBlocks()))
	le.PutUint32(b[0x10:], uint32(l.groups*inodesPerGroup-lostInode))
	le.PutUint32(b[0x18:], 2) // blocks of 1024 << 2 bytes
	le.PutUint32(b[0x1c:], 2) // clusters are blocks
	le.PutUint32(b[0x20:], blocksPerGroup)
	le.PutUint32(b[0x24:], blocksPerGroup)
	le.PutUint32(b[0x28:], inodesPerGroup)
	le.PutUint32(b[0x30:], now)
	le.PutUint16(b[0x36:], 0xffff) // never checked for having been mounted often
	le.PutUint16(b[0x38:], 0xef53) // magic
	le.PutUint16(b[0x3a:], 1)      // clean
	le.PutUint16(b[0x3c:], 1)      // on errors: continue
	le.PutUint32(b[0x40:], now)
	le.PutUint32(b[0x4c:], 1) // revision
	le.PutUint32(b[0x54:], lostInode)
	le.PutUint16(b[0x58:], inodeSize)
	le.PutUint32(b[0x5c:], compatJournal|compatXattr|compatDirIndex|compatSparseSuper2)
	le.PutUint32(b[0x60:], incompatFileType|incompatExtents|incompatFlexBG)
	le.PutUint32(b[0x64:], roLargeFile|roHugeFile|roUninitBG|roDirNlink|roExtraIsize)
	copy(b[0x68:], id.uuid[:])
	le.PutUint32(b[0xe0:], journalInode)
	copy(b[0xec:], id.hashSeed[:])
	b[0xfc] = 1                  // directories are hashed with half MD4
	b[0xfd] = 1                  // the journal's inode is backed up below
	le.PutUint32(b[0x100:], 0xc) // mount with user_xattr and acl
	le.PutUint32(b[0x108:], now)
	copy(b[0x10c:], blockMap(l.journal, l.journalBlocks))
	le.PutUint32(b[0x10c+16*4:], uint32(l.journalBlocks*blockSize)) // 15 words of map, then the size's high and low word
	le.PutUint16(b[0x15c:], extraSize)
	le.PutUint16(b[0x15e:], extraSize)
	le.PutUint32(b[0x160:], 1) // characters in hashes are signed
	b[0x174] = logFlex
	return b
}

// descriptors returns the table of group descriptors.
func descriptors(l layout, id identity) []byte {
	table := make([]byte, 0, l.groups*descSize)
	for g := range l.groups {
		d := l.group(g)
		flags := uint16(groupZeroed)
		if !l.hasBlockBitmap(g) {
			flags |= groupBlockUninit
		}
		if d.inodes == 0 {
			flags |= groupInodeUninit
		}
		b := make([]byte, descSize)
		le.PutUint32(b[0x00:], uint32(d.blockBitmap))
		le.PutUint32(b[0x04:], uint32(d.inodeBitmap))
		le.PutUint32(b[0x08:], uint32(d.inodeTable))
		le.PutUint16(b[0x0c:], uint16(d.blocks-d.used))
		le.PutUint16(b[0x0e:], uint16(inodesPerGroup-d.inodes))
		le.PutUint16(b[0x10:], uint16(d.dirs))
		le.PutUint16(b[0x12:], flags)
		le.PutUint16(b[0x1c:], uint16(inodesPerGroup-d.inodes)) // never used, at the table's end
		sum := crc16(0xffff, id.uuid[:])
		sum = crc16(sum, le.AppendUint32(nil, uint32(g)))
		le.PutUint16(b[0x1e:], crc16(sum, b[:0x1e]))
		table = append(table, b...)
	}
	return table
}

// bitmap returns a block in which the first used bits are set, and those from
// size on, which stand for nothing.
func bitmap(used, size int64) []byte {
	b := make([]byte, blockSize)
	for i := range b {
		for bit := range int64(8) {
			if n := int64(i)*8 + bit; n < used || n >= size {
				b[i] |= 1 << bit
			}
		}
	}
	return b
}

// crc16 is the CRC with polynomial x^16+x^15+x^2+1, bits reversed.
func crc16(sum uint16, data []byte) uint16 {
	for _, c := range data {
		sum ^= uint16(c)
		for range 8 {
			if sum&1 != 0 {
				sum = sum>>1 ^ 0xa001
			} else {
				sum >>= 1
			}
		}
	}
	return sum
}
