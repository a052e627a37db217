package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
)

// The files in a template's directory.
const (
	manifestFile = "template.json"
	memoryFile   = "memory"
	stateFile    = "state"
	// DiskFile is the writable disk; whoever makes a template puts it in its stage.
	DiskFile = "disk.img"
)

// Bounds, in bytes, of what is read into memory as a whole.
const (
	maxManifest = 1 << 20
	maxState    = 256 << 20
)

// manifest is template.json: what the directory's files must be.
type manifest struct {
	Version int       `json:"version"`
	Shape   Shape     `json:"shape"`
	Clock   int       `json:"clock,omitempty"` // see Info
	Created time.Time `json:"created"`
	Memory  content   `json:"memory"`
	State   content   `json:"state"`
	Disk    content   `json:"disk"`
}

// content is what a file holds.
type content struct {
	Size   int64         `json:"size"` // bytes, holes included
	Digest digest.Digest `json:"digest"`
}

// check says why a file of this size cannot hold the content.
func (c content) check(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Size() != c.Size {
		return damaged("its file %s has %d bytes, not %d", filepath.Base(f.Name()), st.Size(), c.Size)
	}
	return nil
}

// damage is an error that a template does not recover from.
type damage string

func (d damage) Error() string { return string(d) }

func damaged(format string, args ...any) error { return damage(fmt.Sprintf(format, args...)) }

// readManifest reads the manifest in the directory dir of the template d.
func readManifest(dir string, d digest.Digest) (manifest, error) {
	f, err := os.Open(filepath.Join(dir, manifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return manifest{}, damaged("it has no %s", manifestFile)
	}
	if err != nil {
		return manifest{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err != nil {
		return manifest{}, err
	}
	return parseManifest(data, d)
}

// parseManifest checks all that can be checked without looking at the files.
func parseManifest(data []byte, d digest.Digest) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return m, damaged("its %s cannot be read: %v", manifestFile, err)
	}
	switch {
	case m.Version != version:
		return m, damaged("it was written in version %d, and this program reads %d", m.Version, version)
	case m.Shape.Digest() != d:
		return m, damaged("its %s is that of another template", manifestFile)
	case m.Memory.Size != m.Shape.Memory || m.Memory.Size <= 0:
		return m, damaged("it says that a machine of %d bytes has a memory of %d", m.Shape.Memory, m.Memory.Size)
	case m.Disk.Size != m.Shape.Disk || m.Disk.Size <= 0:
		return m, damaged("it says that a disk of %d bytes has %d", m.Shape.Disk, m.Disk.Size)
	case m.State.Size <= 0 || m.State.Size > maxState:
		return m, damaged("it says that the devices' state has %d bytes", m.State.Size)
	}
	for _, c := range []content{m.Memory, m.State, m.Disk} {
		if c.Digest.Validate() != nil {
			return m, damaged("it does not say what its files hold")
		}
	}
	return m, nil
}
