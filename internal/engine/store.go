package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Files and directories below the data root.
const (
	containersDir = "containers" // one directory for each container, named by its ID
	removedDir    = "removed"    // container directories on their way out
	damagedDir    = "damaged"    // container directories whose record cannot be read
	recordFile    = "config.json"
	statusFile    = "state.json"
)

// store keeps containers on disk: a directory for each, with its record
// and its status. A directory without a record is one that was being made when
// bothyd or the machine stopped: it holds nothing of worth.
//
// The record is on disk when create answers. The status is written whole or not
// at all by a bothyd that is killed, but not forced out: it describes processes,
// and none of those survives what could lose it.
type store struct {
	root string // the data root
	log  *slog.Logger
}

// stored is a container as it was found on disk.
type stored struct {
	rec record
	st  status
}

func openStore(root string, log *slog.Logger) (*store, error) {
	s := &store{root: root, log: log}
	for _, dir := range []string{containersDir, removedDir} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o710); err != nil {
			return nil, fmt.Errorf("opening the store of containers: %w", err)
		}
	}
	return s, nil
}

// dir is the container's state directory.
func (s *store) dir(id string) string { return filepath.Join(s.root, containersDir, id) }

// create makes the container's directory with its record and status. If it
// fails, nothing is left.
func (s *store) create(rec record, st status) (err error) {
	dir := s.dir(rec.ID)
	if err := os.Mkdir(dir, 0o710); err != nil {
		return storeError("creating", rec.ID, err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	if err := s.saveStatus(rec.ID, st); err != nil {
		return err
	}
	if err := s.saveRecord(rec); err != nil {
		return err
	}
	if rec.HostConfig != nil && rec.HostConfig.AutoRemove {
		return nil
	}
	return storeError("creating", rec.ID, syncDir(filepath.Dir(dir)))
}

// saveRecord replaces the record. That of a container which is removed when it
// ends is not forced out: after a power cut it would be removed anyway.
func (s *store) saveRecord(rec record) error {
	rec.SchemaVersion = schemaVersion
	sync := rec.HostConfig == nil || !rec.HostConfig.AutoRemove
	return storeError("saving", rec.ID, writeJSON(filepath.Join(s.dir(rec.ID), recordFile), rec, sync))
}

func (s *store) saveStatus(id string, st status) error {
	st.SchemaVersion = schemaVersion
	data, err := json.Marshal(st)
	if err == nil {
		err = overwrite(filepath.Join(s.dir(id), statusFile), data)
	}
	return storeError("saving the state of", id, err)
}

// overwritten is the size in bytes up to which a write to a file is done whole or
// not at all by a process that is killed: it changes one page.
const overwritten = 4096

// overwrite gives a small file of JSON another content, which is padded to the
// length of the old one: four times in the life of a container a new file in the
// place of the old would cost more. A longer one is replaced.
func overwrite(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && max(info.Size(), int64(len(data))) > overwritten {
		_ = file.Close()
		return replace(path, data, false)
	}
	if err == nil {
		padding := max(int(info.Size())-len(data), 0)
		_, err = file.Write(append(data, bytes.Repeat([]byte{'\n'}, padding)...))
	}
	return errors.Join(err, file.Close())
}

// removedDir is where the state directory of a removed container is deleted.
func (s *store) removedDir(id string) string { return filepath.Join(s.root, removedDir, id) }

// remove takes the container off the disk at once and gives back what deletes
// its data, which may take a while.
func (s *store) remove(id string) (cleanup func(), err error) {
	gone := s.removedDir(id)
	if err := os.Rename(s.dir(id), gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, storeError("removing", id, err)
	}
	return func() {
		if err := os.RemoveAll(gone); err != nil {
			s.log.Error("deleting a removed container's data", "container", id, "error", err)
		}
	}, nil
}

// load reads all containers. What is half-made or on its way out is deleted,
// what cannot be read is reported and set aside.
func (s *store) load() ([]stored, error) {
	if err := os.RemoveAll(filepath.Join(s.root, removedDir)); err != nil {
		s.log.Error("deleting removed containers' data", "error", err)
	}
	if err := os.MkdirAll(filepath.Join(s.root, removedDir), 0o710); err != nil {
		return nil, fmt.Errorf("loading containers: %w", err)
	}
	entries, err := os.ReadDir(filepath.Join(s.root, containersDir))
	if err != nil {
		return nil, fmt.Errorf("loading containers: %w", err)
	}
	var all []stored
	for _, e := range entries {
		one, err := s.loadOne(e.Name())
		switch {
		case errors.Is(err, errHalfMade):
			s.log.Warn("removing a container that was being created when bothyd stopped", "container", e.Name())
			_ = os.RemoveAll(s.dir(e.Name()))
		case err != nil:
			s.setAside(e.Name(), err)
		default:
			all = append(all, one)
		}
	}
	return all, nil
}

var errHalfMade = errors.New("the directory has no record")

func (s *store) loadOne(id string) (stored, error) {
	var one stored
	data, err := os.ReadFile(filepath.Join(s.dir(id), recordFile))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return one, errHalfMade
	}
	if err != nil {
		return one, err
	}
	if err := decodeRecord(data, id, &one.rec); err != nil {
		return one, err
	}
	one.st, err = s.loadStatus(id)
	return one, err
}

func decodeRecord(data []byte, id string, rec *record) error {
	if err := json.Unmarshal(data, rec); err != nil {
		return err
	}
	switch {
	case rec.SchemaVersion != schemaVersion:
		return fmt.Errorf("schema version %d, this bothyd reads %d", rec.SchemaVersion, schemaVersion)
	case rec.ID != id || len(id) != 64 || strings.Trim(id, "0123456789abcdef") != "":
		return fmt.Errorf("the record is of %q", rec.ID)
	case rec.Config == nil || rec.HostConfig == nil:
		return errors.New("the record has no settings")
	}
	return nil
}

// loadStatus reads a status. One that was lost with the machine's power says
// that the container ran.
func (s *store) loadStatus(id string) (status, error) {
	var st status
	data, err := os.ReadFile(filepath.Join(s.dir(id), statusFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return st, err
	}
	if err := json.Unmarshal(data, &st); err != nil || st.SchemaVersion != schemaVersion || st.State == "" {
		s.log.Warn("a container's state is unreadable: it counts as ended", "container", id, "error", err)
		return status{State: "running"}, nil
	}
	return st, nil
}

func (s *store) setAside(id string, reason error) {
	to := filepath.Join(s.root, damagedDir, id)
	err := os.MkdirAll(filepath.Dir(to), 0o710)
	if err == nil {
		err = os.Rename(s.dir(id), to)
	}
	if err != nil {
		s.log.Error("a container's record cannot be read, and it cannot be set aside", "container", id, "reason", reason, "error", err)
		return
	}
	s.log.Error("a container's record cannot be read: it is set aside", "container", id, "reason", reason, "moved to", to)
}

// storeError names the container that err is about; a nil err stays nil.
func storeError(doing, id string, err error) error {
	if err == nil {
		return nil
	}
	return diskError(fmt.Errorf("%s container %s: %w", doing, shortID(id), err))
}

// diskError gives the error of a full disk its kind, and says what to do.
func diskError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return failure(errdefs.ErrResourceExhausted, "%w: free some disk space and try again", err)
	}
	return err
}

// shortID is an ID's first twelve digits.
func shortID(id string) string { return id[:min(len(id), 12)] }

// writeJSON replaces path by v, whole or not at all; sync forces it to disk.
func writeJSON(path string, v any, sync bool) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return replace(path, data, sync)
}

// replace puts a new file with data in the place of path, whole or not at all;
// sync forces it to disk.
func replace(path string, data []byte, sync bool) (err error) {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp)
		}
	}()
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	if !sync {
		return nil
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
