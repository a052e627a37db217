package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	goerofs "github.com/erofs/go-erofs"

	"bothy/internal/image/erofs"
)

// lowerLayers answers a conversion what the layers below have. They are opened
// when something is asked for the first time, which few layers do; by then
// they may have to be waited for.
type lowerLayers struct {
	ctx   context.Context
	s     *Store
	p     *pending
	count int // how many of p's layers lie below

	opened bool
	files  []*os.File
	images []fs.ReadLinkFS // the topmost first
}

func (l *lowerLayers) close() {
	for _, f := range l.files {
		_ = f.Close() // only read from
	}
}

func (l *lowerLayers) open() error {
	if l.opened {
		return nil
	}
	for i := l.count - 1; i >= 0; i-- {
		select {
		case <-l.p.done[i]:
		case <-l.ctx.Done():
			return l.ctx.Err()
		}
		f, err := os.Open(l.s.layers.path(l.p.config.chains[i]))
		if err != nil {
			return err
		}
		l.files = append(l.files, f)
		img, err := goerofs.Open(f)
		if err != nil {
			return fmt.Errorf("reading layer %s: %w", f.Name(), err)
		}
		rl, ok := img.(fs.ReadLinkFS)
		if !ok {
			return errors.ErrUnsupported
		}
		l.images = append(l.images, rl)
	}
	l.opened = true
	return nil
}

// lookup is an erofs.Lower.
func (l *lowerLayers) lookup(p string) (*erofs.LowerEntry, error) {
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("looking into the layers below: %w", err)
	}
	for _, img := range l.images {
		e, hidden, err := lookupIn(img, strings.Trim(p, "/"))
		if err != nil || e != nil || hidden {
			return e, err
		}
	}
	return nil, nil
}

// lookupIn looks for a path in one layer. hidden says that the layers below it
// do not show there.
func lookupIn(img fs.ReadLinkFS, p string) (e *erofs.LowerEntry, hidden bool, err error) {
	for i := 0; i <= len(p); i++ {
		if i < len(p) && p[i] != '/' {
			continue
		}
		at := p[:i]
		if at == "" {
			at = "."
		}
		fi, err := img.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, hidden, nil
		}
		if err != nil {
			return nil, false, err
		}
		st, ok := fi.Sys().(*goerofs.Stat)
		if !ok {
			return nil, false, errors.ErrUnsupported
		}
		if i == len(p) {
			return lowerEntry(img, p, fi, st)
		}
		if !fi.IsDir() {
			return nil, true, nil
		}
		hidden = hidden || st.Xattrs["trusted.overlay.opaque"] == "y"
	}
	return nil, hidden, nil
}

// lowerEntry takes the mode from st: fi.Mode lacks setuid, setgid and sticky.
func lowerEntry(img fs.ReadLinkFS, p string, fi fs.FileInfo, st *goerofs.Stat) (*erofs.LowerEntry, bool, error) {
	e := &erofs.LowerEntry{Mode: st.Mode, UID: st.UID, GID: st.GID, ModTime: fi.ModTime()}
	switch {
	case fi.IsDir():
		e.Xattrs = map[string]string{}
		for k, v := range st.Xattrs {
			if !strings.HasPrefix(k, "trusted.overlay.") {
				e.Xattrs[k] = v
			}
		}
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := img.ReadLink(p)
		if err != nil {
			return nil, false, err
		}
		e.Target = target
	default:
		return nil, true, nil // a whiteout, or a file that the new directory replaces
	}
	return e, true, nil
}
