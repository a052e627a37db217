package template

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// seals make a memory file what it is for ever.
const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL

// Use gives a template. One that is not yet in memory is read and checked, which
// takes some tenths of a second; others who want it wait. The error is
// errdefs.ErrNotFound if there is none, and a DamagedError if it was not what
// was saved.
func (s *Store) Use(ctx context.Context, d digest.Digest) (*Template, error) {
	if t, err := s.share(d); t != nil || err != nil {
		return t, err
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	if t, err := s.share(d); t != nil || err != nil {
		return t, err
	}
	t, err := s.load(ctx, d)
	if errors.Is(err, unix.EIO) || errors.Is(err, io.EOF) {
		err = damaged("it cannot be read: %v", err)
	}
	var bad damage
	switch {
	case errors.As(err, &bad):
		_, derr := s.dropLocked(d)
		return nil, errors.Join(&DamagedError{Digest: d, Reason: string(bad)}, derr)
	case err != nil:
		return nil, fmt.Errorf("loading the template %s: %w", d.Encoded()[:12], err)
	}
	s.mu.Lock()
	s.loaded[d] = t
	s.mu.Unlock()
	return s.share(d)
}

// share gives files of their own of a template in memory; nil if it isn't there.
func (s *Store) share(d digest.Digest) (*Template, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.loaded[d]
	if t == nil {
		return nil, nil
	}
	c, err := t.duplicate()
	if err != nil {
		return nil, fmt.Errorf("handing out the template %s: %w", d.Encoded()[:12], err)
	}
	s.used(d)
	return c, nil
}

// Unload lets go of the memory of templates that nobody used since then. They
// stay on disk.
func (s *Store) Unload(since time.Time) error {
	all, err := s.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, info := range all {
		if !info.Loaded || info.Used.After(since) {
			continue
		}
		s.mu.Lock()
		if t := s.loaded[info.Digest]; t != nil {
			errs = append(errs, t.Close())
			delete(s.loaded, info.Digest)
		}
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// load reads a template into memory. A damage is what is wrong with it.
func (s *Store) load(ctx context.Context, d digest.Digest) (_ *Template, err error) {
	dir := s.path(d)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is none: %w", errdefs.ErrNotFound)
	}
	m, err := readManifest(dir, d)
	if err != nil {
		return nil, err
	}
	t := &Template{Digest: d, Clock: m.Clock}
	defer func() {
		if err != nil {
			t.closeOpen()
		}
	}()
	if t.Memory, err = readSealed(ctx, dir, memoryFile, m.Memory); err != nil {
		return nil, err
	}
	if t.State, err = readSealed(ctx, dir, stateFile, m.State); err != nil {
		return nil, err
	}
	if t.Disk, err = openPart(dir, DiskFile, m.Disk); err != nil {
		return nil, err
	}
	got, err := copySparse(ctx, nil, t.Disk)
	if err == nil && got != m.Disk.Digest {
		err = damaged("its file %s was altered", DiskFile)
	}
	return t, err
}

// closeOpen closes the files that are there.
func (t *Template) closeOpen() {
	for _, f := range []*os.File{t.Memory, t.State, t.Disk} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// openPart opens a file of a template to be read.
func openPart(dir, name string, c content) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) {
		return nil, damaged("its file %s is missing", name)
	}
	if err != nil {
		return nil, err
	}
	if err := c.check(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// readSealed copies a file of a template to sealed memory, and checks the copy.
func readSealed(ctx context.Context, dir, name string, c content) (*os.File, error) {
	from, err := openPart(dir, name, c)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	to, got, err := sealed(ctx, name, from)
	if err == nil && got != c.Digest {
		_ = to.Close()
		return nil, damaged("its file %s was altered", name)
	}
	return to, err
}

// sealed copies a file to sealed memory and gives the copy's digest.
func sealed(ctx context.Context, name string, from *os.File) (_ *os.File, got digest.Digest, err error) {
	fd, err := unix.MemfdCreate("bothy-template-"+name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, "", fmt.Errorf("making a memory file: %w", err)
	}
	to := os.NewFile(uintptr(fd), "template "+name)
	defer func() {
		if err != nil {
			err = errors.Join(err, to.Close())
		}
	}()
	if got, err = copySparse(ctx, to, from); err != nil {
		return nil, "", err
	}
	// Any user: a machine's QEMU has one of its own, and opens it by its
	// descriptor. Nobody can write to it.
	if err := to.Chmod(0o666); err != nil {
		return nil, "", err
	}
	if _, err := unix.FcntlInt(to.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, "", fmt.Errorf("sealing a memory file: %w", err)
	}
	return to, got, nil
}

// keepLoaded keeps a template in memory that was just saved, if nobody can
// change its memory any more. Else it is read when it is wanted.
func (s *Store) keepLoaded(ctx context.Context, d digest.Digest, m Made) {
	if got, err := unix.FcntlInt(m.Memory.Fd(), unix.F_GET_SEALS, 0); err != nil || got&seals != seals {
		return
	}
	state, _, err := sealed(ctx, stateFile, m.State)
	if err != nil {
		return
	}
	defer state.Close()
	disk, err := os.Open(filepath.Join(s.path(d), DiskFile))
	if err != nil {
		return
	}
	defer disk.Close()
	t, err := (&Template{Digest: d, Clock: m.Clock, Memory: m.Memory, State: state, Disk: disk}).duplicate()
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded[d] = t
}

// duplicate gives a template with files of its own.
func (t *Template) duplicate() (_ *Template, err error) {
	c := &Template{Digest: t.Digest, Clock: t.Clock}
	defer func() {
		if err != nil {
			c.closeOpen()
		}
	}()
	for _, f := range []struct {
		from *os.File
		to   **os.File
	}{{t.Memory, &c.Memory}, {t.State, &c.State}, {t.Disk, &c.Disk}} {
		fd, err := unix.FcntlInt(f.from.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("duplicating %s: %w", f.from.Name(), err)
		}
		*f.to = os.NewFile(uintptr(fd), f.from.Name())
	}
	return c, nil
}
