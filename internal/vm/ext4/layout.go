package ext4

// Sizes that every image shares.
const (
	blockSize      = 4096
	blocksPerGroup = 8 * blockSize // what one bitmap block describes
	inodesPerGroup = 8192          // one for each 16 KiB
	inodeSize      = 256
	tableBlocks    = inodesPerGroup * inodeSize / blockSize // blocks of one group's inode table
	descSize       = 32

	// logFlex is the logarithm of the number of groups whose bitmaps and inode
	// tables lie together in the first of them.
	logFlex       = 4
	groupsPerFlex = 1 << logFlex

	// minLastGroup is the size in blocks below which a last group is not made:
	// it could not hold its own inode table.
	minLastGroup = 4096
)

// layout says where everything lies, in blocks.
type layout struct {
	blocks int64 // of the file system
	groups int64

	descBlocks    int64 // group descriptors, from block 1 on
	rootBlock     int64
	lostBlock     int64 // lost+found
	journal       int64 // first block
	journalBlocks int64
}

// newLayout plans a file system on size bytes, at least MinSize. All that is
// not a group's own lies in group 0, which has room for it up to MaxSize.
func newLayout(size int64) layout {
	l := layout{blocks: size / blockSize}
	if rest := l.blocks % blocksPerGroup; rest < minLastGroup {
		l.blocks -= rest
	}
	l.groups = ceil(l.blocks, blocksPerGroup)
	l.descBlocks = ceil(l.groups*descSize, blockSize)
	l.rootBlock = l.flexStart(0) + l.flexBlocks(0)
	l.lostBlock = l.rootBlock + 1
	l.journal = l.lostBlock + 1
	l.journalBlocks = journalBlocks(l.blocks)
	return l
}

// journalBlocks is mke2fs' choice, but never more than 64 MiB: a journal that
// has been used once takes its full size on the host.
func journalBlocks(blocks int64) int64 {
	switch {
	case blocks < 32768:
		return 1024
	case blocks < 256<<10:
		return 4096
	case blocks < 512<<10:
		return 8192
	}
	return 16384
}

// flexStart returns where the bitmaps and tables of flex group i begin.
func (l layout) flexStart(i int64) int64 {
	if i == 0 {
		return 1 + l.descBlocks
	}
	return i * groupsPerFlex * blocksPerGroup
}

// flexSize returns how many groups flex group i has.
func (l layout) flexSize(i int64) int64 {
	return min(groupsPerFlex, l.groups-i*groupsPerFlex)
}

// flexBlocks returns how many blocks the bitmaps and tables of flex group i take.
func (l layout) flexBlocks(i int64) int64 {
	return l.flexSize(i) * (2 + tableBlocks)
}

// group is where one group's metadata lies, and what of the group is taken.
type group struct {
	blockBitmap, inodeBitmap, inodeTable int64 // blocks

	blocks int64 // size in blocks
	used   int64 // blocks taken, all at the group's beginning
	inodes int64 // inodes taken, the first ones
	dirs   int64
}

// group returns group g. Block bitmaps of a flex group come first, then its
// inode bitmaps, then its tables.
func (l layout) group(g int64) group {
	flex, i := g/groupsPerFlex, g%groupsPerFlex
	start, n := l.flexStart(flex), l.flexSize(flex)
	d := group{
		blockBitmap: start + i,
		inodeBitmap: start + n + i,
		inodeTable:  start + 2*n + i*tableBlocks,
		blocks:      min(blocksPerGroup, l.blocks-g*blocksPerGroup),
	}
	switch {
	case g == 0:
		d.used = l.journal + l.journalBlocks
		d.inodes, d.dirs = lostInode, 2
	case i == 0:
		d.used = l.flexBlocks(flex)
	}
	return d
}

// hasBlockBitmap reports whether the group's block bitmap is written. Where it
// is not, the kernel takes the group for empty; of the last one it could not
// know the size.
func (l layout) hasBlockBitmap(g int64) bool {
	return g%groupsPerFlex == 0 || g == l.groups-1
}

func (l layout) freeBlocks() int64 {
	free := int64(0)
	for g := range l.groups {
		d := l.group(g)
		free += d.blocks - d.used
	}
	return free
}

func ceil(n, unit int64) int64 {
	return (n + unit - 1) / unit
}
