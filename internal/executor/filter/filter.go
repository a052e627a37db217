// Package filter keeps compiled seccomp filters: libseccomp takes 10 ms for
// docker's profile, for every process of every container, and the same profile
// gives the same program.
//
// A container's first steps compile the filter, far from any directory of the
// host. So the process that starts them hands them a file, a record: one that
// has the program already, or an empty one for them to leave it in. What a
// record says is taken only if it was made by exactly the calls of libseccomp
// that would be made now; wrap.c compares these.
//
// It knows nothing of containers beyond that they have a profile.
package filter

// #cgo LDFLAGS: -lseccomp -Wl,--wrap=seccomp_init -Wl,--wrap=seccomp_arch_add -Wl,--wrap=seccomp_attr_set
// #cgo LDFLAGS: -Wl,--wrap=seccomp_rule_add_array -Wl,--wrap=seccomp_export_bpf -Wl,--wrap=seccomp_load
// #include "record.h"
import "C"

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	// recordSize is the length in bytes of a record that waits to be filled.
	recordSize = C.RECORD_SIZE
	// headerSize is that of what stands before a record's calls.
	headerSize = 16
	// maxRecords bounds a cache: profiles are few.
	maxRecords = 64
)

// Adopt makes this process compile its filter by the record that is its first
// descriptor behind stdio, if that is one. It is called before anything else
// in a container's first steps.
func Adopt() bool { return C.filter_adopt(recordFD) != 0 }

// recordFD is the first descriptor behind stdio.
const recordFD = 3

// Cache is a directory with records. Several processes may use it.
type Cache struct {
	dir string
}

// New makes a cache in dir, which is made if missing: a directory of root's
// alone, best on a tmpfs.
func New(dir string) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the cache of filters: %w", err)
	}
	return &Cache{dir: dir}, nil
}

// Record is what a process that is started gets: File is its first descriptor
// behind stdio.
type Record struct {
	File *os.File

	path string // where it is to be kept; "": it is there already
}

// Record finds the profile's record, or makes one to be filled. The caller
// closes it.
func (c *Cache) Record(profile *specs.LinuxSeccomp) (*Record, error) {
	name, err := recordName(profile)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(c.dir, name)
	file, err := os.Open(path)
	if err == nil {
		return &Record{File: file}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if file, err = emptyRecord(); err != nil {
		return nil, err
	}
	return &Record{File: file, path: path}, nil
}

// recordName tells profiles and libseccomps apart.
func recordName(profile *specs.LinuxSeccomp) (string, error) {
	hash := sha256.New()
	major, minor, micro := seccomp.Version()
	fmt.Fprintf(hash, "%d.%d.%d\n", major, minor, micro)
	if err := json.NewEncoder(hash).Encode(profile); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func emptyRecord() (*os.File, error) {
	fd, err := unix.MemfdCreate("filter", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "filter")
	header := binary.NativeEndian.AppendUint64(nil, C.RECORD_MAGIC)
	_, err = file.WriteAt(header, 0)
	if err == nil {
		err = file.Truncate(recordSize)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// Keep puts a record that was filled into the cache.
func (r *Record) Keep() error {
	if r.path == "" {
		return nil
	}
	size, err := r.filled()
	if err != nil || size == 0 {
		return err
	}
	if others, err := os.ReadDir(filepath.Dir(r.path)); err != nil || len(others) >= maxRecords {
		return err
	}
	return keep(r.path, io.NewSectionReader(r.File, 0, size))
}

// filled is the length in bytes of what the record has by now, 0 for nothing.
func (r *Record) filled() (int64, error) {
	header := make([]byte, headerSize)
	if _, err := r.File.ReadAt(header, 0); err != nil {
		return 0, err
	}
	calls, program := int64(binary.NativeEndian.Uint32(header[8:])), int64(binary.NativeEndian.Uint32(header[12:]))
	size := headerSize + calls + program
	if calls == 0 || size > recordSize {
		return 0, nil
	}
	return size, nil
}

// keep writes a file at path, whole or not at all.
func keep(path string, data io.Reader) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = io.Copy(tmp, data)
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// Close closes the record's file.
func (r *Record) Close() error { return r.File.Close() }
