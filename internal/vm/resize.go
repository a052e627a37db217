package vm

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"bothy/internal/shimapi"
	"bothy/internal/vm/qmp"
)

// What a machine that can grow is given later comes in modules of memory.
const (
	memorySlots = 16        // how many it has room for
	moduleUnit  = 128 << 20 // bytes: what a guest's kernel takes at once
	// moduleRatio bounds a module by what the machine has already: the guest keeps
	// a book on its memory, 1/64 of its size, in what it has.
	moduleRatio = 8
)

// resizePoll is the time between two looks at whether a guest has taken a module.
const resizePoll = 5 * time.Millisecond

// memorySize is a machine's memory, now and at most, as QEMU's -m takes it.
func memorySize(m shimapi.Machine) string {
	size := strconv.FormatInt(mebibytes(m.Memory), 10) + "M"
	if !grows(m) {
		return size
	}
	return fmt.Sprintf("size=%s,slots=%d,maxmem=%dM", size, memorySlots, mebibytes(m.MaxMemory))
}

// grows says whether a machine can be given memory while it runs.
func grows(m shimapi.Machine) bool { return m.MaxMemory >= m.Memory+moduleUnit }

// growth is what a machine was given since it began.
type growth struct {
	busy    sync.Mutex // held while the machine grows, above the fields
	modules int
	bytes   int64
}

// growFor is Grow for the annotations of an Update.
func (m *Machine) growFor(ctx context.Context, annotations map[string]string) error {
	text, ok := annotations[shimapi.MachineMemory]
	if !ok {
		return nil
	}
	memory, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return fmt.Errorf("the annotation %s is no number of bytes: %w: %w", shimapi.MachineMemory, err, errdefs.ErrInvalidArgument)
	}
	return m.Grow(ctx, memory)
}

// Grow gives the machine at least memory bytes in all, which its guest has when
// Grow returns. A machine that has as much stays as it is: what a guest does not
// use goes back to the host anyway. What cannot be given is
// ErrOutOfRange; a part of it may have been given then.
func (m *Machine) Grow(ctx context.Context, memory int64) error {
	m.grown.busy.Lock()
	defer m.grown.busy.Unlock()
	for {
		size := m.config.Machine.Memory + m.grown.bytes
		if memory <= size {
			return nil
		}
		module := roundUp(memory-size, moduleUnit)
		err := m.room(size, module)
		if err == nil {
			err = m.plug(ctx, min(module, roundUp(moduleRatio*size, moduleUnit)))
		}
		if err != nil {
			return fmt.Errorf("giving the virtual machine of %s more memory: %w", m.config.ID, err)
		}
	}
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// room refuses what a machine of size bytes cannot have.
func (m *Machine) room(size, more int64) error {
	c := m.config.Machine
	switch {
	case !grows(c):
		return fmt.Errorf("it has %d MiB and cannot grow while it runs; stop the container and start it again: %w", mebibytes(size), errdefs.ErrOutOfRange)
	case size+more > c.MaxMemory:
		return fmt.Errorf("it has %d MiB and can have %d MiB at most, this would take %d MiB: %w", mebibytes(size), mebibytes(c.MaxMemory), mebibytes(size+more), errdefs.ErrOutOfRange)
	case m.grown.modules == memorySlots:
		return fmt.Errorf("it has grown %d times, which is all that it has room for; stop the container and start it again: %w", memorySlots, errdefs.ErrOutOfRange)
	}
	return nil
}

// plug adds a module of memory and waits until the guest has taken it.
func (m *Machine) plug(ctx context.Context, size int64) error {
	m.mu.Lock()
	client := m.qmp
	m.mu.Unlock()
	if client == nil {
		return m.goneError()
	}
	memory, module := fmt.Sprintf("more%d", m.grown.modules), fmt.Sprintf("module%d", m.grown.modules)
	if err := client.Run(ctx, "object-add", map[string]any{"qom-type": "memory-backend-ram", "id": memory, "size": size}, nil); err != nil {
		return err
	}
	err := client.Run(ctx, "device_add", map[string]any{"driver": "pc-dimm", "id": module, "memdev": memory}, nil)
	if err != nil {
		_ = client.Run(ctx, "object-del", map[string]any{"id": memory}, nil) // costs nothing while nobody writes to it
		return err
	}
	m.grown.modules++
	m.grown.bytes += size
	return m.taken(ctx, client, m.grown.modules-1)
}

// taken waits until the guest's kernel has said what it did with a module.
func (m *Machine) taken(ctx context.Context, client *qmp.Client, slot int) error {
	for {
		var all []struct {
			Slot   string `json:"slot"`
			Type   string `json:"slot-type"`
			Source int    `json:"source"`
			Status int    `json:"status"`
		}
		if err := client.Run(ctx, "query-acpi-ospm-status", nil, &all); err != nil {
			return err
		}
		for _, s := range all {
			if s.Type != "DIMM" || s.Slot != strconv.Itoa(slot) || s.Source == 0 {
				continue
			}
			if s.Status != 0 {
				return fmt.Errorf("the guest's kernel refused it (ACPI status %d); its console is in %s: %w", s.Status, consolePath(m.config.Bundle), errdefs.ErrInternal)
			}
			return nil
		}
		select {
		case <-time.After(resizePoll):
		case <-ctx.Done():
			return fmt.Errorf("the guest's kernel did not take it in time (%w): %w", context.Cause(ctx), errdefs.ErrInternal)
		}
	}
}
