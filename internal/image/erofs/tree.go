package erofs

import (
	"archive/tar"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	goerofs "github.com/erofs/go-erofs"
	"golang.org/x/sys/unix"
)

const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutMeta   = ".wh..wh." // AUFS' own files: nothing for us

	maxName     = 255  // bytes in a name, the kernel's limit for EROFS
	maxTarget   = 4095 // bytes in a symbolic link, less than a page
	maxFollowed = 40   // symbolic links on the way to one entry, as in the kernel

	// maxWeight bounds in bytes the memory that the entries of one layer take,
	// by a rough count: a few megabytes of compressed tar can hold any number.
	// It is enough for three million files.
	maxWeight   = 4 << 30
	entryWeight = 1 << 10
)

// data says where a file's content lies.
type data struct {
	from io.ReaderAt
	off  int64
	size int64
}

// node is one inode of the layer. The root and directories have children.
type node struct {
	mode     fs.FileMode
	uid, gid uint32
	mtime    time.Time
	rdev     uint32
	target   string // of a symbolic link
	xattrs   map[string]string
	data     data
	links    *links // of an inode with several names; nil: it has one

	children  map[string]*node
	whiteouts map[string]struct{} // names that the layer hides in this directory
	opaque    bool                // hides all that lower layers have in this directory
}

func newDir() *node {
	return &node{mode: fs.ModeDir | 0o755, mtime: time.Unix(0, 0), children: map[string]*node{}}
}

func (n *node) setXattr(k, v string) {
	if n.xattrs == nil {
		n.xattrs = map[string]string{}
	}
	n.xattrs[k] = v
}

// Lower answers what lies at an absolute path in the layers below, taken
// together as overlay shows them; nil if nothing does. Only directories and
// symbolic links need to be answered.
type Lower func(p string) (*LowerEntry, error)

// LowerEntry is a directory or symbolic link of a lower layer.
type LowerEntry struct {
	Mode     fs.FileMode
	UID, GID uint32
	ModTime  time.Time
	Xattrs   map[string]string
	Target   string
}

// tree is a layer's file tree while its tar is read.
type tree struct {
	root  *node
	lower Lower
	// weight is about how much memory the entries take; see maxWeight.
	weight int64
	// hardLinks says that there are some; linkDirs are the directories that have hard links in or below them.
	hardLinks bool
	linkDirs  map[*node]bool
}

func newTree(lower Lower) *tree {
	return &tree{root: newDir(), lower: lower, linkDirs: map[*node]bool{}}
}

// clean makes a path of a tar relative to the layer's root, "" being the root
// itself. A path that climbs out is refused.
func clean(what, p string) (string, error) {
	if strings.ContainsRune(p, 0) {
		return "", refuse("the layer's %s %q has a zero byte", what, p)
	}
	c := path.Clean(strings.TrimLeft(p, "/"))
	if c == "." {
		return "", nil
	}
	if c == ".." || strings.HasPrefix(c, "../") {
		return "", refuse("the layer's %s %q climbs out of the root file system", what, p)
	}
	return c, nil
}

// add puts one entry of the tar into the tree.
func (t *tree) add(h *tar.Header, d data) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	p, err := clean("entry", h.Name)
	if err != nil {
		return err
	}
	if err := t.weigh(weightOf(h)); err != nil {
		return err
	}
	if p == "" {
		if h.Typeflag != tar.TypeDir {
			return refuse("the layer's root %q is not a directory", h.Name)
		}
		return t.root.describe(h)
	}
	dir, err := t.parent(p)
	if err != nil {
		return err
	}
	name := path.Base(p)
	if len(name) > maxName {
		return refuse("the layer's entry %.40q... has a name of more than %d bytes", name, maxName)
	}
	if strings.HasPrefix(name, whiteoutPrefix) {
		return dir.hide(name)
	}
	n, err := t.node(h, d)
	if err != nil {
		return err
	}
	if old := dir.children[name]; old != nil && old.mode.IsDir() && n.mode.IsDir() {
		n.children, n.whiteouts, n.opaque = old.children, old.whiteouts, old.opaque
		if old.opaque {
			n.setXattr(opaqueXattr, "y")
		}
	}
	dir.children[name] = n
	return nil
}

// weigh counts one more entry.
func (t *tree) weigh(bytes int) error {
	if t.weight += entryWeight + int64(bytes); t.weight > maxWeight {
		return refuse("the layer has too many entries: what is known of them takes more than %d GiB of memory", maxWeight>>30)
	}
	return nil
}

// weightOf is what an entry's texts take: its path is kept three times.
func weightOf(h *tar.Header) int {
	n := 3*len(h.Name) + len(h.Linkname)
	for k, v := range h.PAXRecords {
		n += len(k) + len(v)
	}
	return n
}

// node makes the inode that a header describes, or finds the one that a hard
// link means.
func (t *tree) node(h *tar.Header, d data) (*node, error) {
	if h.Typeflag == tar.TypeLink {
		return t.linked(h)
	}
	n := &node{}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		n.data = d
	case tar.TypeDir:
		n.mode, n.children = fs.ModeDir, map[string]*node{}
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > maxTarget || strings.ContainsRune(h.Linkname, 0) {
			return nil, refuse("the layer's symbolic link %q has no usable target", h.Name)
		}
		n.mode, n.target = fs.ModeSymlink, h.Linkname
	case tar.TypeChar, tar.TypeBlock:
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return nil, refuse("the layer's device %q has the impossible number %d:%d", h.Name, h.Devmajor, h.Devminor)
		}
		n.mode = fs.ModeDevice
		if h.Typeflag == tar.TypeChar {
			n.mode |= fs.ModeCharDevice
		}
		n.rdev = uint32(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	case tar.TypeFifo:
		n.mode = fs.ModeNamedPipe
	default:
		return nil, refuse("the layer's entry %q is of a kind (%q) that no file system has", h.Name, h.Typeflag)
	}
	return n, n.describe(h)
}

// linked finds the inode that a hard link names. It must be in this layer.
func (t *tree) linked(h *tar.Header) (*node, error) {
	p, err := clean("hard link target", h.Linkname)
	if err != nil {
		return nil, err
	}
	n := t.find(p)
	if n == nil {
		return nil, refuse("the layer's hard link %q means %q, which the layer does not have", h.Name, h.Linkname)
	}
	if n.mode.IsDir() {
		return nil, refuse("the layer's hard link %q means the directory %q", h.Name, h.Linkname)
	}
	if n.links == nil {
		n.links, t.hardLinks = &links{}, true
	}
	return n, nil
}

// find looks a clean path up, following symbolic links on the way but not at
// its end.
func (t *tree) find(p string) *node {
	dir, err := t.walk(path.Dir(p), nil)
	if err != nil || dir == nil {
		return nil
	}
	return dir.children[path.Base(p)]
}

// parent finds the directory that holds a clean path and makes what is missing.
func (t *tree) parent(p string) (*node, error) {
	return t.walk(path.Dir(p), t.missing)
}

// missing makes a directory that the tar does not describe (yet): as it is in
// the layers below, or with the usual mode.
func (t *tree) missing(p string) (*node, error) {
	n := newDir()
	if err := t.weigh(3 * len(p)); err != nil {
		return nil, err
	}
	if t.lower == nil {
		return n, nil
	}
	e, err := t.lower(p)
	if err != nil || e == nil {
		return n, err
	}
	switch {
	case e.Mode.IsDir():
		n.mode, n.uid, n.gid, n.mtime = e.Mode, e.UID, e.GID, e.ModTime
		n.xattrs = maps.Clone(e.Xattrs)
	case e.Mode&fs.ModeSymlink != 0:
		n = &node{mode: e.Mode, target: e.Target}
	}
	return n, nil
}

// hide notes a whiteout.
func (n *node) hide(name string) error {
	switch {
	case name == whiteoutOpaque:
		n.opaque = true
		n.setXattr(opaqueXattr, "y")
	case strings.HasPrefix(name, whiteoutMeta):
	case name == whiteoutPrefix, name == ".wh..", name == ".wh...":
		return refuse("the layer's whiteout %q names nothing", name)
	default:
		if n.whiteouts == nil {
			n.whiteouts = map[string]struct{}{}
		}
		n.whiteouts[strings.TrimPrefix(name, whiteoutPrefix)] = struct{}{}
	}
	return nil
}

// finish turns whiteouts into what overlay reads. A name that is both hidden
// and there hides only what is below it.
func (t *tree) finish() {
	t.root.finish()
	if t.hardLinks {
		t.countLinks(t.root, "")
	}
}

func (n *node) finish() {
	for name := range n.whiteouts {
		if c := n.children[name]; c == nil {
			n.children[name] = &node{mode: fs.ModeDevice | fs.ModeCharDevice, mtime: time.Unix(0, 0)}
		} else if c.mode.IsDir() {
			c.opaque = true
			c.setXattr(opaqueXattr, "y")
		}
	}
	n.whiteouts = nil
	for _, c := range n.children {
		if c.mode.IsDir() {
			c.finish()
		}
	}
}

// names lists a directory in order.
func (n *node) names() []string { return slices.Sorted(maps.Keys(n.children)) }

// stat is what go-erofs takes from a file's Sys.
func (n *node) stat() *goerofs.Stat {
	s := &goerofs.Stat{
		UID: n.uid, GID: n.gid, Rdev: n.rdev, Nlink: 1, Xattrs: n.xattrs,
		Mtime: uint64(n.mtime.Unix()), MtimeNs: uint32(n.mtime.Nanosecond()),
	}
	switch {
	case n.links != nil:
		s.Nlink = n.links.count
	case n.mode.IsDir():
		s.Nlink = 2
		for _, c := range n.children {
			if c.mode.IsDir() {
				s.Nlink++
			}
		}
	}
	return s
}
