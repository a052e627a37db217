package rootfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Kind is what has happened to a file. The numbers are docker's.
type Kind uint8

const (
	Modified Kind = 0
	Added    Kind = 1
	Deleted  Kind = 2
)

// Change is one file that a container has changed.
type Change struct {
	Path string `json:"path"` // absolute
	Kind Kind   `json:"kind"`
}

// layers are a container's own files over those that it was made from: the
// upper directory of an overlay and what is below that, merged.
type layers struct {
	upper, lower *os.File
	ignore       map[string]bool
}

// Overlay marks a directory of the upper side that hides all below it, and
// files whose content or place is elsewhere, which a layer cannot say.
const (
	opaqueXattr   = overlayPrefix + "opaque"
	redirectXattr = overlayPrefix + "redirect"
	metacopyXattr = overlayPrefix + "metacopy"
)

// pair is a file of the upper side and what the lower has in its place.
type pair struct {
	path  string // absolute
	upper *os.File
	st    unix.Stat_t // of upper
	lower *os.File    // nil: there is nothing
	lowSt unix.Stat_t
	hides bool // it is a directory of which, or of one above it, overlay hides what the lower has
}

func (p *pair) close() {
	p.upper.Close()
	if p.lower != nil {
		p.lower.Close()
	}
}

// whiteout says that the upper file stands for a deletion.
func (p *pair) whiteout() bool {
	return p.st.Mode&unix.S_IFMT == unix.S_IFCHR && p.st.Rdev == 0
}

// opaque says that a file is a directory which hides the one below it. Overlay
// marks no directories in one that is marked.
func (p *pair) opaque() bool {
	return isDir(&p.st) && hasXattr(p.upper, opaqueXattr, "y")
}

// whole refuses files that are not all in the upper side. The engine mounts
// overlays so that there are none.
func (p *pair) whole() error {
	for _, name := range []string{redirectXattr, metacopyXattr} {
		if _, err := unix.Getxattr(procPath(p.upper), name, nil); err == nil {
			return fmt.Errorf("%s lies partly in the layers below (%s), which this kernel's overlay file system must not do: %w", p.path, name, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

// pair finds the two sides of a name; nil if the upper one has gone since.
func (l *layers) pair(dir *pair, name string) (*pair, error) {
	upper, err := openName(dir.upper, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &pair{path: path.Join(dir.path, name), upper: upper}
	if p.st, err = fstat(upper); err == nil && dir.lower != nil && isDir(&dir.lowSt) {
		p.lower, err = openName(dir.lower, name)
		if errors.Is(err, os.ErrNotExist) {
			p.lower, err = nil, nil
		}
		if p.lower != nil {
			p.lowSt, err = fstat(p.lower)
		}
	}
	if err != nil {
		p.close()
		return nil, err
	}
	p.hides = isDir(&p.st) && dir.hides || p.opaque()
	return p, nil
}

// root is the pair of the two root directories.
func (l *layers) root() (*pair, error) {
	p := &pair{path: "/"}
	var err error
	if p.upper, err = openName(l.upper, "."); err != nil {
		return nil, err
	}
	if p.lower, err = openName(l.lower, "."); err == nil {
		p.st, err = fstat(p.upper)
	}
	if err == nil {
		p.lowSt, err = fstat(p.lower)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// ignored says whether a file was made only to mount something on it.
func (l *layers) ignored(p *pair) bool {
	if !l.ignore[p.path] || p.lower != nil {
		return false
	}
	if isReg(&p.st) {
		return p.st.Size == 0
	}
	if !isDir(&p.st) {
		return false
	}
	return l.onlyIgnored(p)
}

// onlyIgnored says that there is nothing in a directory but what is ignored.
func (l *layers) onlyIgnored(dir *pair) bool {
	all, err := names(dir.upper)
	if err != nil {
		return false
	}
	for _, name := range all {
		child, err := l.pair(dir, name)
		if err != nil || child == nil {
			return false
		}
		ignored := l.ignored(child)
		child.close()
		if !ignored {
			return false
		}
	}
	return true
}

// differ finds changes. A directory is told of before what is in it, once it is
// known that it is to be told of.
type differ struct {
	ctx     context.Context
	l       *layers
	emit    func(Change) error
	pending []string // directories that count as modified if anything below them is
}

// changes calls emit for all that was changed, in the order of the paths.
func (l *layers) changes(ctx context.Context, emit func(Change) error) error {
	root, err := l.root()
	if err != nil {
		return fmt.Errorf("comparing with the image: %w", err)
	}
	defer root.close()
	d := &differ{ctx: ctx, l: l, emit: emit}
	if _, err := d.directory(root, 0); err != nil {
		return fmt.Errorf("comparing with the image: %w", err)
	}
	return nil
}

// tell emits a change, and the directories above it that were not yet told of.
func (d *differ) tell(name string, kind Kind) error {
	for _, dir := range d.pending {
		if err := d.emit(Change{dir, Modified}); err != nil {
			return err
		}
	}
	d.pending = d.pending[:0]
	return d.emit(Change{name, kind})
}

// directory compares what two directories have. It reports whether there was
// something to be ignored, which changes a directory's time.
func (d *differ) directory(dir *pair, depth int) (ignored bool, err error) {
	if depth > maxDepth {
		return false, fmt.Errorf("%.60s...: its directories lie more than %d deep in one another: %w", dir.path, maxDepth, errdefs.ErrFailedPrecondition)
	}
	upper, err := names(dir.upper)
	if err != nil {
		return false, err
	}
	all := map[string]bool{} // true: in the upper directory
	if dir.lower != nil && isDir(&dir.lowSt) && dir.hides {
		below, err := names(dir.lower)
		if err != nil {
			return false, err
		}
		for _, name := range below {
			all[name] = false
		}
	}
	for _, name := range upper {
		all[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := d.ctx.Err(); err != nil {
			return false, err
		}
		if !all[name] {
			if err := d.tell(path.Join(dir.path, name), Deleted); err != nil {
				return false, err
			}
			continue
		}
		skipped, err := d.name(dir, name, depth)
		if err != nil {
			return false, err
		}
		ignored = ignored || skipped
	}
	return ignored, nil
}

func (d *differ) name(dir *pair, name string, depth int) (ignored bool, err error) {
	p, err := d.l.pair(dir, name)
	if err != nil || p == nil {
		return false, err
	}
	defer p.close()
	switch {
	case p.whiteout() && p.lower == nil:
		return false, nil
	case p.whiteout():
		return false, d.tell(p.path, Deleted)
	case d.l.ignored(p):
		return true, nil
	case isDir(&p.st):
		return false, d.pairOfDirs(p, depth)
	case p.lower == nil:
		return false, d.tell(p.path, Added)
	case p.touched():
		return false, d.tell(p.path, Modified)
	}
	return false, nil
}

// pairOfDirs tells of a directory and what is in it.
func (d *differ) pairOfDirs(p *pair, depth int) error {
	var err error
	told := true
	switch {
	case p.lower == nil:
		err = d.tell(p.path, Added)
	case !sameLooks(&p.st, &p.lowSt):
		err = d.tell(p.path, Modified)
	default:
		told = false
		d.pending = append(d.pending, p.path)
	}
	if err != nil {
		return err
	}
	before := len(d.pending)
	ignored, err := d.directory(p, depth+1)
	if err != nil || told || len(d.pending) < before { // what is below has told of it
		return err
	}
	d.pending = d.pending[:before-1]
	if !ignored && p.st.Mtim != p.lowSt.Mtim {
		return d.tell(p.path, Modified)
	}
	return nil
}

// sameLooks compares kind, mode, owner and device.
func sameLooks(a, b *unix.Stat_t) bool {
	return a.Mode == b.Mode && a.Uid == b.Uid && a.Gid == b.Gid && (isReg(a) || isDir(a) || isLink(a) || a.Rdev == b.Rdev)
}

// touched says whether a file was changed since it was copied up from below.
func (p *pair) touched() bool {
	return !sameLooks(&p.st, &p.lowSt) || p.st.Size != p.lowSt.Size || p.st.Mtim != p.lowSt.Mtim
}
