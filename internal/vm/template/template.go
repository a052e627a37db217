// Package template keeps virtual machines' templates on disk: a machine's memory
// and the state of its devices at the moment when it waits for its first
// container, and the untouched writable disk that it has.
//
// A template is a directory that is there whole or not at all. What is handed
// out was checked against what was kept, and is a copy in sealed memory, so that
// nothing that happens to the files afterwards reaches a machine.
//
// The package knows nothing of how a machine is started, of the engine, or of
// when a template is wanted.
package template

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
)

// version is that of the directory's layout, and part of every shape's digest.
const version = 1

// Shape is all that a template depends on: a machine may go on from one only if
// both have the same.
type Shape struct {
	Host
	Memory int64 `json:"memory"` // bytes
	CPUs   int   `json:"cpus"`
	Disk   int64 `json:"disk"` // bytes, of the writable disk
}

// Host is what the shapes of all machines of a host have in common. Its fields
// are only ever compared.
type Host struct {
	Kernel    string `json:"kernel"`    // digest of the image that is booted
	Initramfs string `json:"initramfs"` // digest; it has the guest's program
	Emulator  string `json:"emulator"`  // path, size, change time and version
	Layout    string `json:"layout"`    // digest of what the emulator is told
	Processor string `json:"processor"` // digest of its model and features
}

// Digest names the shape's template.
func (s Shape) Digest() digest.Digest {
	h := sha256.New()
	// Plain structs of strings and numbers are always encoded, always the same.
	_ = json.NewEncoder(h).Encode(struct {
		Version int
		Shape   Shape
	}{version, s})
	return digest.NewDigest(digest.SHA256, h)
}

// Info describes a template.
type Info struct {
	Digest  digest.Digest
	Shape   Shape
	Clock   int // rate of the processor's time stamp counter when it was made, kHz; 0: unknown
	Created time.Time
	Used    time.Time // when Use last gave it
	Size    int64     // bytes that it takes on disk
	Loaded  bool      // it is in memory
}

// Template is what a machine goes on from. The files are the caller's own
// descriptors, without a position that means anything: read them at offsets, or
// open them again by /proc/self/fd.
type Template struct {
	Digest digest.Digest
	Clock  int      // see Info
	Memory *os.File // sealed memory; any user may open it again
	State  *os.File // of the devices, sealed memory
	Disk   *os.File // what the machine's writable disk was
}

// Close lets go of the files.
func (t *Template) Close() error {
	return errors.Join(t.Memory.Close(), t.State.Close(), t.Disk.Close())
}

// DamagedError says that a template could not be used, and has been dropped.
type DamagedError struct {
	Digest digest.Digest
	Reason string // one clause
}

func (e *DamagedError) Error() string {
	return "the template " + e.Digest.Encoded()[:12] + " is of no use and was dropped: " + e.Reason
}
