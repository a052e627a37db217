package initramfs

import (
	"fmt"
	"io"
	"io/fs"
)

// File types in a cpio header's mode, as stat(2) has them.
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeChar = 0o020000
)

// archive writes cpio's "newc" format, which is 110 bytes of hexadecimal
// fields, a name and the data, each padded to four bytes: too little to take a
// library for. Times and owners are 0, so equal input makes equal bytes.
// See Documentation/driver-api/early-userspace/buffer-format.rst in Linux.
type archive struct {
	w     io.Writer
	inode int
	at    int64
	err   error // the first error; nothing is written after it
}

func (a *archive) dir(name string, perm fs.FileMode) {
	a.entry(name, typeDir|uint32(perm.Perm()), 0, 0, nil)
}

func (a *archive) file(name string, perm fs.FileMode, data []byte) {
	a.entry(name, typeFile|uint32(perm.Perm()), 0, 0, data)
}

func (a *archive) device(name string, perm fs.FileMode, major, minor uint32) {
	a.entry(name, typeChar|uint32(perm.Perm()), major, minor, nil)
}

// close ends the archive and returns the first error.
func (a *archive) close() error {
	a.inode = -1
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	return a.err
}

func (a *archive) entry(name string, mode, major, minor uint32, data []byte) {
	a.inode++
	links := 1
	if mode&typeDir == typeDir && mode&typeFile != typeFile {
		links = 2
	}
	const mtime, owner, none = 0, 0, 0
	a.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, owner, owner, links, mtime, len(data), none, none, major, minor, len(name)+1, none, name))
	a.pad()
	a.write(data)
	a.pad()
}

func (a *archive) pad() {
	if n := a.at % 4; n != 0 {
		a.write(make([]byte, 4-n))
	}
}

func (a *archive) write(b []byte) {
	if a.err != nil {
		return
	}
	n, err := a.w.Write(b)
	a.at += int64(n)
	a.err = err
}
