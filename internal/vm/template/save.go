package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Stage is a directory in which a template is being made. Either Save or Discard
// ends it.
type Stage struct {
	store *Store
	dir   string
}

// Made is a template that was made, whose writable disk is DiskFile in its
// stage. The files stay the caller's.
type Made struct {
	Shape  Shape
	Clock  int      // see Info
	Memory *os.File // of Shape.Memory bytes
	State  *os.File
}

// Stage makes a new directory, below the store's own, to make a template in.
func (s *Store) Stage() (*Stage, error) {
	dir, err := os.MkdirTemp(s.dir, makingPrefix)
	if err != nil {
		return nil, fmt.Errorf("making a virtual machines' template: %w", err)
	}
	return &Stage{store: s, dir: dir}, nil
}

// Disk is the path where the template's writable disk is to be.
func (st *Stage) Disk() string { return filepath.Join(st.dir, DiskFile) }

// Discard deletes the stage. After Save it does nothing.
func (st *Stage) Discard() error {
	if err := os.RemoveAll(st.dir); err != nil {
		return fmt.Errorf("deleting what is left of a template: %w", err)
	}
	return nil
}

// Save makes the stage a template, which takes the place of one of the same
// name. Whatever happens meanwhile there is either the old one, or none, or the
// new one as a whole, and once Save has returned it outlives a power cut. A
// template whose memory and state are sealed is in memory from then on. Those
// used longest ago make room where there are too many.
func (st *Stage) Save(ctx context.Context, m Made) (digest.Digest, error) {
	d := m.Shape.Digest()
	if err := st.save(ctx, d, m); err != nil {
		return "", fmt.Errorf("saving the template %s: %w", d.Encoded()[:12], errors.Join(err, st.Discard()))
	}
	st.store.keepLoaded(ctx, d, m)
	return d, st.store.trim(d)
}

func (st *Stage) save(ctx context.Context, d digest.Digest, m Made) error {
	if err := st.write(ctx, m); err != nil {
		return err
	}
	s := st.store
	s.loading.Lock()
	defer s.loading.Unlock()
	s.begin("replace")
	if _, err := os.Lstat(s.path(d)); err == nil {
		if _, err := s.dropLocked(d); err != nil {
			return err
		}
	}
	s.begin("rename")
	if err := os.Rename(st.dir, s.path(d)); err != nil {
		return err
	}
	s.begin("sync store")
	return syncDir(s.dir)
}

// write puts the template's files into the stage.
func (st *Stage) write(ctx context.Context, m Made) (err error) {
	man := manifest{Version: version, Shape: m.Shape, Clock: m.Clock, Created: time.Now().UTC()}
	st.store.begin("memory")
	if man.Memory, err = st.copyFile(ctx, memoryFile, m.Memory); err != nil {
		return err
	}
	st.store.begin("state")
	if man.State, err = st.copyFile(ctx, stateFile, m.State); err != nil {
		return err
	}
	st.store.begin("disk")
	if man.Disk, err = st.disk(ctx); err != nil {
		return err
	}
	data, err := json.Marshal(man)
	if err != nil {
		return err
	}
	// What would not be loaded is not saved.
	if _, err := parseManifest(data, m.Shape.Digest()); err != nil {
		return err
	}
	st.store.begin("manifest")
	if err := writeFile(filepath.Join(st.dir, manifestFile), data); err != nil {
		return err
	}
	st.store.begin("sync stage")
	return syncDir(st.dir)
}

// copyFile copies from to a file of the name in the stage.
func (st *Stage) copyFile(ctx context.Context, name string, from *os.File) (_ content, err error) {
	f, err := os.OpenFile(filepath.Join(st.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return content{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d, err := copySparse(ctx, f, from)
	if err != nil {
		return content{}, err
	}
	return contentOf(f, d)
}

// disk takes in the disk that is in the stage.
func (st *Stage) disk(ctx context.Context) (content, error) {
	f, err := os.OpenFile(st.Disk(), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	d, err := copySparse(ctx, nil, f)
	if err == nil {
		err = f.Chmod(0o600)
	}
	if err != nil {
		return content{}, err
	}
	return contentOf(f, d)
}

// contentOf forces a file to disk and describes it.
func contentOf(f *os.File, d digest.Digest) (content, error) {
	if err := f.Sync(); err != nil {
		return content{}, err
	}
	st, err := f.Stat()
	if err != nil {
		return content{}, err
	}
	return content{Size: st.Size(), Digest: d}, nil
}

func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// begin tells of a step.
func (s *Store) begin(step string) {
	if s.step != nil {
		s.step(step)
	}
}
