package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"bothy/internal/image/erofs"
)

const layerSuffix = ".erofs"

// layerStore is the directory of layer files. A file that is there is whole.
type layerStore struct {
	dir, tmp string

	mu   sync.Mutex // guards the following; held through a collection
	pins map[digest.Digest]int
	used []digest.Digest // images in use, for the next collection

	workMu  sync.Mutex // guards the following
	working map[digest.Digest]chan struct{}
}

// openLayers makes the directories and empties tmp.
func openLayers(dir, tmp string) (*layerStore, error) {
	if err := os.RemoveAll(tmp); err != nil {
		return nil, err
	}
	for _, d := range []string{dir, filepath.Join(dir, digest.SHA256.String()), tmp} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	return &layerStore{dir: dir, tmp: tmp, pins: map[digest.Digest]int{}, working: map[digest.Digest]chan struct{}{}}, nil
}

// path is where the file of a layer is or will be.
func (l *layerStore) path(chainID digest.Digest) string {
	return filepath.Join(l.dir, chainID.Algorithm().String(), chainID.Encoded()+layerSuffix)
}

func (l *layerStore) pin(chainID digest.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pins[chainID]++
}

func (l *layerStore) unpin(chainIDs []digest.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range chainIDs {
		if l.pins[id]--; l.pins[id] <= 0 {
			delete(l.pins, id)
		}
	}
}

func (l *layerStore) setUsed(images []digest.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = images
}

// has says whether a layer is there. The caller has pinned it.
func (l *layerStore) has(chainID digest.Digest) bool {
	_, err := os.Stat(l.path(chainID))
	return err == nil
}

// list gives all layers that are there.
func (l *layerStore) list() []digest.Digest {
	files, err := filepath.Glob(filepath.Join(l.dir, "*", "*"+layerSuffix))
	if err != nil {
		return nil
	}
	ids := make([]digest.Digest, 0, len(files))
	for _, f := range files {
		alg := filepath.Base(filepath.Dir(f))
		ids = append(ids, digest.NewDigestFromEncoded(digest.Algorithm(alg), strings.TrimSuffix(filepath.Base(f), layerSuffix)))
	}
	return ids
}

// delete removes layer files; l.mu is held.
func (l *layerStore) delete(chainIDs []digest.Digest) error {
	var errs []error
	for _, id := range chainIDs {
		if err := os.Remove(l.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// source opens the uncompressed tar of a layer.
type source func(ctx context.Context) (tarFile, error)

// tarFile is an uncompressed tar that can be read at any offset.
type tarFile interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// make converts a layer unless it is there. If another is converting it, make
// waits, and tries itself should that one fail. The caller has pinned chainID.
func (l *layerStore) make(ctx context.Context, chainID digest.Digest, lower erofs.Lower, open source) error {
	for {
		l.workMu.Lock()
		if l.has(chainID) {
			l.workMu.Unlock()
			return nil
		}
		busy, found := l.working[chainID]
		if !found {
			done := make(chan struct{})
			l.working[chainID] = done
			l.workMu.Unlock()
			err := l.convert(ctx, chainID, lower, open)
			l.workMu.Lock()
			delete(l.working, chainID)
			l.workMu.Unlock()
			close(done)
			return err
		}
		l.workMu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// convert writes the layer to tmp, syncs it and gives it its name.
func (l *layerStore) convert(ctx context.Context, chainID digest.Digest, lower erofs.Lower, open source) (err error) {
	tar, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tar.Close()) }()
	f, err := os.CreateTemp(l.tmp, "layer-")
	if err != nil {
		return err
	}
	defer func() {
		if f != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if err := erofs.Convert(ctx, tar, tar.Size(), f, erofs.Options{TempDir: l.tmp, Lower: lower}); err != nil {
		return err
	}
	// Readable by the user that a virtual machine runs as.
	if err := f.Chmod(0o444); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), l.path(chainID)); err != nil {
		return err
	}
	err = f.Close()
	f = nil
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(l.path(chainID)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) {
		err = nil // a file system without it
	}
	if err := errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}
