package erofs

import (
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	goerofs "github.com/erofs/go-erofs"
)

// tree is an fs.FS for go-erofs to copy from. Names are those that fs.WalkDir
// makes; they may hold any byte but "/" and zero.
var (
	_ fs.StatFS    = (*tree)(nil)
	_ fs.ReadDirFS = (*tree)(nil)
)

func (t *tree) at(op, name string) (*node, error) {
	n := t.root
	if name != "." {
		for part := range strings.SplitSeq(name, "/") {
			if n = n.children[part]; n == nil {
				return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
			}
		}
	}
	return n, nil
}

func (t *tree) Open(name string) (fs.File, error) {
	n, err := t.at("open", name)
	if err != nil {
		return nil, err
	}
	f := &file{info: infoOf(name, n)}
	if n.data.from != nil {
		f.SectionReader = io.NewSectionReader(n.data.from, n.data.off, n.data.size)
	} else {
		f.SectionReader = io.NewSectionReader(strings.NewReader(""), 0, 0)
	}
	return f, nil
}

func (t *tree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.at("stat", name)
	if err != nil {
		return nil, err
	}
	return infoOf(name, n), nil
}

func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.at("readdir", name)
	if err != nil {
		return nil, err
	}
	entries := make([]fs.DirEntry, 0, len(n.children))
	for _, child := range n.names() {
		entries = append(entries, fs.FileInfoToDirEntry(infoOf(path.Join(name, child), n.children[child])))
	}
	return entries, nil
}

// ReadLink gives a symbolic link's target; go-erofs asks for it.
func (t *tree) ReadLink(name string) (string, error) {
	n, err := t.at("readlink", name)
	if err != nil {
		return "", err
	}
	return n.target, nil
}

type file struct {
	*io.SectionReader
	info info
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

type info struct {
	name  string
	n     *node
	alias bool // a further name of a node: stands for an empty file (see links)
}

func infoOf(p string, n *node) info { return info{path.Base(p), n, n.alias(p)} }

func (i info) Name() string       { return i.name }
func (i info) Mode() fs.FileMode  { return i.n.mode }
func (i info) ModTime() time.Time { return i.n.mtime }
func (i info) IsDir() bool        { return i.n.mode.IsDir() }

func (i info) Size() int64 {
	if i.alias {
		return 0
	}
	return i.n.data.size
}

func (i info) Sys() any {
	if i.alias {
		return &goerofs.Stat{Nlink: 1}
	}
	return i.n.stat()
}
