package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"

	"bothy/internal/shimapi"
	"bothy/internal/vm/qmp"
)

// Assignment is the container that a waiting machine becomes the machine of.
type Assignment struct {
	ID      string // the container's
	Bundle  string // absolute path; console log and pid file move there
	Machine shimapi.Machine
	Rootfs  []*types.Mount
	Streams Streams
	Filter  func() []byte                        // see Config
	Trace   func(at time.Duration, phase string) // see Config
}

// Assign gives a machine that went on from a template, and that has practised
// and rests, to a container: from then on it is as if it had been started for
// that container. Its layers take the place of the empty slots; a fresh disk
// is the one that the machine has been started with, under whatever name it
// has now. Nothing else may use the machine meanwhile, and if it fails the
// machine is of no more use.
func (m *Machine) Assign(ctx context.Context, a Assignment) error {
	if err := m.assign(ctx, a); err != nil {
		return fmt.Errorf("giving a waiting virtual machine to %s: %w", a.ID, err)
	}
	return nil
}

func (m *Machine) assign(ctx context.Context, a Assignment) error {
	if len(a.Machine.Interfaces) > 1 {
		return fmt.Errorf("it has one network interface, not %d: %w", len(a.Machine.Interfaces), errdefs.ErrFailedPrecondition)
	}
	m.mu.Lock()
	client := m.qmp
	m.mu.Unlock()
	if client == nil {
		return fmt.Errorf("QEMU's monitor is gone: %w", errdefs.ErrUnavailable)
	}
	disks, err := openDisks(a.Rootfs, bySlot(a.Machine.Fresh))
	if err != nil {
		return err
	}
	defer closeDisks(disks)
	for _, d := range disks {
		if d.serial == freshSerial {
			continue // it has it open
		}
		if err := fillSlot(ctx, client, d); err != nil {
			return err
		}
	}
	if err := m.moveFiles(a.Bundle); err != nil {
		return err
	}
	m.serials = serials(disks)
	m.task.exchange.setStreams(a.Streams, a.Trace)
	m.config.ID, m.config.Bundle, m.config.Rootfs = a.ID, a.Bundle, a.Rootfs
	m.config.Machine, m.config.Streams, m.config.Filter = a.Machine, a.Streams, a.Filter
	m.config.Trace = a.Trace
	m.report.Pooled = true
	return nil
}

// fillSlot puts a disk's file in the place of what its slot holds.
func fillSlot(ctx context.Context, client *qmp.Client, d disk) error {
	slot := slotOf(d.serial)
	if slot < 0 {
		return fmt.Errorf("it has slots for %d layers, no more: %w", LayerSlots, errdefs.ErrFailedPrecondition)
	}
	name := fmt.Sprintf("disk%d", slot)
	set := firstFreeSet + slot
	if err := client.RunWithFile(ctx, "add-fd", map[string]any{"fdset-id": set}, nil, d.file); err != nil {
		return err
	}
	file := map[string]any{
		"driver": "file", "node-name": name + "-file", "filename": fmt.Sprintf("/dev/fdset/%d", set),
		"locking": "off", "read-only": d.readOnly,
	}
	disk := map[string]any{"driver": "raw", "node-name": name, "read-only": d.readOnly, "file": name + "-file"}
	if !d.readOnly {
		file["discard"], disk["discard"] = "unmap", "unmap"
	}
	if err := client.Run(ctx, "blockdev-add", file, nil); err != nil {
		return err
	}
	return client.Run(ctx, "blockdev-reopen", map[string]any{"options": []any{disk}}, nil)
}

// firstFreeSet is the first number of a set of descriptors that the command line
// has not used.
const firstFreeSet = 1000

func slotOf(serial string) int {
	for i, s := range diskSlots() {
		if s == serial {
			return i
		}
	}
	return -1
}

// moveFiles moves what the machine keeps in its bundle to another.
func (m *Machine) moveFiles(bundle string) error {
	var errs []error
	for _, name := range []string{shimapi.ConsoleLog, PidFile} {
		if err := os.Rename(filepath.Join(m.config.Bundle, name), filepath.Join(bundle, name)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
