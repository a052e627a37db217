package template

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Prefixes of directories that are no templates: being made, and being deleted.
const (
	makingPrefix = ".making-"
	gonePrefix   = ".gone-"
)

// Options configure a store.
type Options struct {
	// Dir holds the templates; made when needed. Only one Store may use it.
	Dir string
	// Keep is how many templates there are at most; 0: 8.
	Keep int
}

// Store is the templates of a directory. Its methods may be called by many at
// once.
type Store struct {
	dir  string
	keep int
	room func() (free, total int64, err error) // of the disk that dir is on, bytes
	step func(name string)                     // told before each step of saving; nil: nobody

	loading sync.Mutex // held while a template is read from disk or goes from it; above mu

	mu     sync.Mutex
	loaded map[digest.Digest]*Template
}

// Open opens a store and deletes what was left half-made or half-deleted.
func Open(o Options) (*Store, error) {
	if o.Keep == 0 {
		o.Keep = 8
	}
	s := &Store{dir: o.Dir, keep: o.Keep, loaded: map[digest.Digest]*Template{}}
	s.room = func() (int64, int64, error) { return diskRoom(s.dir) }
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the virtual machines' templates: %w", err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("opening the virtual machines' templates: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), makingPrefix) || strings.HasPrefix(e.Name(), gonePrefix) {
			errs = append(errs, os.RemoveAll(filepath.Join(s.dir, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("deleting what is left of virtual machines' templates: %w", err)
	}
	return s, nil
}

// Close lets go of the templates in memory. What Use gave stays its caller's.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for d, t := range s.loaded {
		errs = append(errs, t.Close())
		delete(s.loaded, d)
	}
	return errors.Join(errs...)
}

func (s *Store) path(d digest.Digest) string { return filepath.Join(s.dir, d.Encoded()) }

// Has says whether there is a template of the name, as far as can be told
// without reading it.
func (s *Store) Has(d digest.Digest) bool {
	_, err := os.Stat(filepath.Join(s.path(d), manifestFile))
	return err == nil
}

// List describes the templates, the one that was used last first. One that
// cannot be read at all is left out; Use drops it.
func (s *Store) List() ([]Info, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("listing the virtual machines' templates: %w", err)
	}
	var all []Info
	for _, e := range entries {
		d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		if d.Validate() != nil {
			continue
		}
		if info, err := s.describe(d); err == nil {
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(a, b Info) int { return b.Used.Compare(a.Used) })
	return all, nil
}

func (s *Store) describe(d digest.Digest) (Info, error) {
	m, err := readManifest(s.path(d), d)
	if err != nil {
		return Info{}, err
	}
	st, err := os.Stat(filepath.Join(s.path(d), manifestFile))
	if err != nil {
		return Info{}, err
	}
	s.mu.Lock()
	_, loaded := s.loaded[d]
	s.mu.Unlock()
	return Info{Digest: d, Shape: m.Shape, Clock: m.Clock, Created: m.Created, Used: st.ModTime(), Size: diskUse(s.path(d)), Loaded: loaded}, nil
}

// used remembers that a template was of use now.
func (s *Store) used(d digest.Digest) {
	now := time.Now()
	// It only makes the template go later where room is needed.
	_ = os.Chtimes(filepath.Join(s.path(d), manifestFile), now, now)
}

// Drop deletes a template and returns how many bytes that freed. Machines that
// have gone on from it are not concerned. The error is errdefs.ErrNotFound where
// there is none.
func (s *Store) Drop(d digest.Digest) (freed int64, err error) {
	s.loading.Lock()
	defer s.loading.Unlock()
	return s.dropLocked(d)
}

// dropLocked needs loading held.
func (s *Store) dropLocked(d digest.Digest) (freed int64, err error) {
	s.mu.Lock()
	t := s.loaded[d]
	delete(s.loaded, d)
	s.mu.Unlock()
	if t != nil {
		_ = t.Close() // memory has nothing to be written
	}
	freed = diskUse(s.path(d))
	if err := s.discard(s.path(d)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errdefs.ErrNotFound
		}
		return 0, fmt.Errorf("dropping the template %s: %w", d.Encoded(), err)
	}
	return freed, nil
}

// discard deletes a directory, which from the first moment is no template.
func (s *Store) discard(dir string) error {
	gone, err := os.MkdirTemp(s.dir, gonePrefix)
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(dir, filepath.Join(gone, "t")), os.RemoveAll(gone))
}

// MakeRoom drops templates, those that were used longest ago first, until the
// disk has room for need bytes and for what is to stay free: 5 % of it, at least
// 1 GiB. Those in spare are not dropped. The error is
// errdefs.ErrResourceExhausted where there is no room even then.
func (s *Store) MakeRoom(ctx context.Context, need int64, spare ...digest.Digest) (dropped []digest.Digest, err error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return dropped, err
		}
		free, total, err := s.room()
		if err != nil {
			return dropped, fmt.Errorf("looking for room for virtual machines' templates: %w", err)
		}
		stays := max(total/20, 1<<30)
		if free-need >= stays {
			return dropped, nil
		}
		victim := lastUnspared(&all, spare)
		if victim == "" {
			return dropped, fmt.Errorf("the disk of %s has %d MiB free, of which %d are kept so, and a template may take %d: %w",
				s.dir, free>>20, stays>>20, need>>20, errdefs.ErrResourceExhausted)
		}
		if _, err := s.Drop(victim); err != nil && !errdefs.IsNotFound(err) {
			return dropped, err
		}
		dropped = append(dropped, victim)
	}
}

// trim drops those beyond the number that is kept.
func (s *Store) trim(spare digest.Digest) error {
	all, err := s.List()
	if err != nil {
		return err
	}
	for n := len(all); n > s.keep; n-- {
		victim := lastUnspared(&all, []digest.Digest{spare})
		if victim == "" {
			return nil
		}
		if _, err := s.Drop(victim); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// lastUnspared takes the last of all that is not to be spared; "" for none.
func lastUnspared(all *[]Info, spare []digest.Digest) digest.Digest {
	for i := len(*all) - 1; i >= 0; i-- {
		if d := (*all)[i].Digest; !slices.Contains(spare, d) {
			*all = slices.Delete(*all, i, i+1)
			return d
		}
	}
	return ""
}

// diskRoom gives the bytes that are free on dir's disk, and all of them.
func diskRoom(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// diskUse gives the bytes that the files in dir take on disk.
func diskUse(dir string) (bytes int64) {
	entries, _ := os.ReadDir(dir) // one that is gone takes none
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += st.Blocks * 512
			}
		}
	}
	return bytes
}
