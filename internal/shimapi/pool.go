package shimapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
)

// ControlFD is the control socket of a shim that is started for a machine that
// waits (serve -pool). The machine's tap follows it, and its template's files.
const ControlFD = 3

// MaxPoolMessage bounds a PoolMessage, in bytes.
const MaxPoolMessage = 64 << 10

// PoolMessage is one message, in JSON, on the control socket of a shim whose
// machine waits for a container: a pair of connected sockets that keep messages
// apart (SOCK_SEQPACKET). It says one of the things below.
//
// The engine says Prepare, the shim answers Ready; some time later the engine
// says Assign and the shim answers Assigned, or the engine closes its end, which
// ends the shim and its machine. The shim may say Failed in place of an answer,
// and then ends. With Assign come two files, the listeners of TaskSocket and
// AttachSocket; from Assigned on the shim is a container's like any other.
type PoolMessage struct {
	Version  int             `json:"version"`
	Prepare  *PoolPrepare    `json:"prepare,omitempty"`
	Ready    *PoolReady      `json:"ready,omitempty"`
	Assign   *PoolAssignment `json:"assign,omitempty"`
	Assigned *struct{}       `json:"assigned,omitempty"`
	Failed   string          `json:"failed,omitempty"`
}

// PoolPrepare describes a machine that is to wait. Paths are absolute host paths.
type PoolPrepare struct {
	Machine Machine `json:"machine"` // with its Template; Interfaces and Files come with the container
	Disk    string  `json:"disk"`    // an untouched copy of the template's writable disk
	// Cgroup is where QEMU is until it is a container's, below the root of every
	// hierarchy. It goes when it has served.
	Cgroup   string   `json:"cgroup"`
	Filters  string   `json:"filters"` // see CreateOptions
	Practice Practice `json:"practice"`
}

// Practice is a container that a machine makes, runs and deletes before it
// serves anybody, so that its code is warm. Paths are absolute host paths.
type Practice struct {
	Image  string `json:"image"`  // an EROFS file
	Bundle string `json:"bundle"` // a directory with SpecFile
}

// PoolReady says that a machine waits.
type PoolReady struct {
	Pid int `json:"pid"` // QEMU's
}

// PoolAssignment gives a waiting machine to a container.
type PoolAssignment struct {
	ID     string `json:"id"`
	Bundle string `json:"bundle"` // absolute path; what is in the shim's directory comes there
}

// errPoolMessage is what is wrong with a message that says not just one thing.
var errPoolMessage = errors.New("it says nothing, or more than one thing")

// EncodePoolMessage gives a message the version and the form that ParsePoolMessage
// reads.
func EncodePoolMessage(m PoolMessage) ([]byte, error) {
	m.Version = Version
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("encoding a message of the pool: %w", err)
	}
	data, err := json.Marshal(m)
	if err == nil && len(data) > MaxPoolMessage {
		err = fmt.Errorf("it has %d bytes, %d are allowed", len(data), MaxPoolMessage)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding a message of the pool: %w", err)
	}
	return data, nil
}

// ParsePoolMessage reads a message and checks that it is one.
func ParsePoolMessage(data []byte) (PoolMessage, error) {
	var m PoolMessage
	err := json.Unmarshal(data, &m)
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return PoolMessage{}, fmt.Errorf("reading a message of the pool: %w", err)
	}
	return m, nil
}

func (m PoolMessage) check() error {
	if m.Version != Version {
		return fmt.Errorf("it has version %d, %d is known", m.Version, Version)
	}
	said := 0
	for _, is := range []bool{m.Prepare != nil, m.Ready != nil, m.Assign != nil, m.Assigned != nil, m.Failed != ""} {
		if is {
			said++
		}
	}
	if said != 1 {
		return errPoolMessage
	}
	if p := m.Prepare; p != nil {
		if p.Machine.Template == nil {
			return errors.New("it prepares a machine without a template")
		}
		return absolute(p.Disk, p.Filters, p.Practice.Image, p.Practice.Bundle, p.Cgroup)
	}
	if a := m.Assign; a != nil {
		if a.ID == "" {
			return errors.New("it assigns to a container without an id")
		}
		return absolute(a.Bundle)
	}
	return nil
}

func absolute(paths ...string) error {
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%q is no absolute path", path)
		}
	}
	return nil
}
