package rootfs

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/containerd/errdefs"
)

// An OCI layer's names for what overlay says by devices and attributes.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// layerer writes the upper side as an image layer.
type layerer struct {
	*packer
	l *layers
	// root, until something is written, is the root directory's entry: a layer of
	// nothing is an empty archive.
	root func() error
}

// layer writes what a container has changed as the tar of an OCI image layer.
func (l *layers) layer(ctx context.Context, w io.Writer) error {
	root, err := l.root()
	if err != nil {
		return fmt.Errorf("packing a layer: %w", err)
	}
	defer root.close()
	y := &layerer{packer: newPacker(ctx, w), l: l}
	y.root = func() error { return y.file(root.upper, ".", &root.st) }
	if !sameLooks(&root.st, &root.lowSt) {
		err = y.begin()
	}
	if err == nil {
		err = y.directory(root, 0)
	}
	if err == nil {
		err = y.out.Close()
	}
	if err != nil {
		return fmt.Errorf("packing a layer: %w", err)
	}
	return nil
}

// begin comes before every entry.
func (y *layerer) begin() error {
	if y.root == nil {
		return nil
	}
	root := y.root
	y.root = nil
	return root()
}

func (y *layerer) directory(dir *pair, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%.60s...: its directories lie more than %d deep in one another: %w", dir.path, maxDepth, errdefs.ErrFailedPrecondition)
	}
	all, err := names(dir.upper)
	if err != nil {
		return err
	}
	for _, name := range all {
		if err := y.ctx.Err(); err != nil {
			return err
		}
		if err := y.name(dir, name, depth); err != nil {
			return err
		}
	}
	return nil
}

func (y *layerer) name(dir *pair, name string, depth int) error {
	p, err := y.l.pair(dir, name)
	if err != nil || p == nil {
		return err
	}
	defer p.close()
	switch {
	case p.whiteout() && p.lower == nil, y.l.ignored(p):
		return nil
	case p.whiteout():
		return y.mark(path.Join(dir.path, whiteoutPrefix+name))
	case strings.HasPrefix(name, whiteoutPrefix):
		return fmt.Errorf("%s: a name that begins with %s means something else in an image: rename it: %w", p.path, whiteoutPrefix, errdefs.ErrFailedPrecondition)
	}
	if err := p.whole(); err != nil {
		return err
	}
	if y.same(p) {
		return nil
	}
	if err := y.begin(); err != nil {
		return err
	}
	if err := y.file(p.upper, p.path[1:], &p.st); err != nil || !isDir(&p.st) {
		return err
	}
	if p.lower != nil && p.hides && !dir.hides {
		if err := y.mark(path.Join(p.path, whiteoutOpaque)); err != nil {
			return err
		}
	}
	return y.directory(p, depth+1)
}

// same says that a directory was copied up and nothing of it changed but what
// is ignored.
func (y *layerer) same(p *pair) bool {
	if !isDir(&p.st) || p.lower == nil || !sameLooks(&p.st, &p.lowSt) || p.hides {
		return false
	}
	all, err := names(p.upper)
	if err != nil || !y.l.onlyIgnored(p) {
		return false
	}
	return len(all) > 0 || p.st.Mtim == p.lowSt.Mtim
}

// mark writes an empty file that says something.
func (y *layerer) mark(name string) error {
	if err := y.begin(); err != nil {
		return err
	}
	return y.out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: 0o644, Format: tar.FormatPAX})
}
