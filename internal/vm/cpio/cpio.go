// Package cpio writes archives in cpio's "newc" format, which Linux unpacks as
// its first root file system. The format is 110 bytes of hexadecimal fields, a
// name and the data, each padded to four bytes: too little to take a library
// for. See Documentation/driver-api/early-userspace/buffer-format.rst in Linux.
//
// It knows nothing of what is in an archive.
package cpio

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
	typeMask = 0o170000
)

// Writer writes an archive. Times and owners are 0 and inode numbers count up,
// so equal calls make equal bytes. Names have no leading slash, and a directory
// comes before what is in it. Errors are kept until Close.
type Writer struct {
	out   io.Writer
	inode int
	at    int64
	err   error // the first error; nothing is written after it
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{out: w}
}

// Dir adds a directory.
func (w *Writer) Dir(name string, perm fs.FileMode) {
	w.entry(name, typeDir|uint32(perm.Perm()), 0, 0, nil)
}

// File adds a regular file.
func (w *Writer) File(name string, perm fs.FileMode, data []byte) {
	w.entry(name, typeFile|uint32(perm.Perm()), 0, 0, data)
}

// Device adds a character device.
func (w *Writer) Device(name string, perm fs.FileMode, major, minor uint32) {
	w.entry(name, typeChar|uint32(perm.Perm()), major, minor, nil)
}

// Close ends the archive, but not what it is written to, and returns the first
// error.
func (w *Writer) Close() error {
	w.inode = -1
	w.entry("TRAILER!!!", 0, 0, 0, nil)
	return w.err
}

func (w *Writer) entry(name string, mode, major, minor uint32, data []byte) {
	w.inode++
	links := 1
	if mode&typeMask == typeDir {
		links = 2
	}
	const mtime, owner, none = 0, 0, 0
	w.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		w.inode, mode, owner, owner, links, mtime, len(data), none, none, major, minor, len(name)+1, none, name))
	w.pad()
	w.write(data)
	w.pad()
}

func (w *Writer) pad() {
	if n := w.at % 4; n != 0 {
		w.write(make([]byte, 4-n))
	}
}

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.out.Write(b)
	w.at += int64(n)
	w.err = err
}
