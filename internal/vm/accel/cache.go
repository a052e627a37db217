package accel

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/atomicwriter"
	"golang.org/x/sys/unix"

	"bothy/internal/vm/kernel"
)

// cacheVersion is the schema version of the cache file.
const cacheVersion = 1

// record is what the cache file holds, as JSON.
type record struct {
	Version int    `json:"version"`
	Key     key    `json:"key"`
	Accel   string `json:"accel"`
	Reason  string `json:"reason,omitempty"`
}

// key is all that the answer depends on. A file is told by its path, inode,
// size and change time.
type key struct {
	QEMU        string `json:"qemu"`
	Kernel      string `json:"kernel"`
	HostRelease string `json:"hostRelease"`
	HostMachine string `json:"hostMachine"` // its machine id: a disk may be moved to another one
	Device      uint64 `json:"device"`      // device number of /dev/kvm
}

func identify(qemu string, k kernel.Kernel, device string) (key, error) {
	var id key
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return key{}, &fs.PathError{Op: "stat", Path: device, Err: err}
	}
	id.Device = st.Rdev
	var err error
	if id.QEMU, err = identifyFile(qemu); err != nil {
		return key{}, err
	}
	if id.Kernel, err = identifyFile(k.Image); err != nil {
		return key{}, err
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return key{}, fmt.Errorf("asking for the host's kernel: %w", err)
	}
	id.HostRelease = unix.ByteSliceToString(uts.Release[:]) + " " + unix.ByteSliceToString(uts.Version[:])
	// A machine without an id is told from others by the rest.
	machine, _ := os.ReadFile("/etc/machine-id")
	id.HostMachine = strings.TrimSpace(string(machine))
	return id, nil
}

func identifyFile(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return fmt.Sprintf("%s %d:%d %d %d.%09d", path, st.Dev, st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec), nil
}

// recall returns the remembered answer to key. A file that cannot be read or
// understood is as good as none.
func recall(path string, id key) (Result, bool) {
	if path == "" {
		return Result{}, false
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Result{}, false
	}
	var r record
	if json.Unmarshal(data, &r) != nil || r.Version != cacheVersion || r.Key != id {
		return Result{}, false
	}
	if r.Accel != KVM && r.Accel != TCG {
		return Result{}, false
	}
	return Result{Accel: r.Accel, Reason: r.Reason}, true
}

// remember writes the answer to key, whole or not at all.
func remember(path string, id key, r Result) error {
	if path == "" {
		return nil
	}
	data, err := json.MarshalIndent(record{Version: cacheVersion, Key: id, Accel: r.Accel, Reason: r.Reason}, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	return atomicwriter.WriteFile(path, append(data, '\n'), 0o644)
}
