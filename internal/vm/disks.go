package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
)

// disk is a file system in a file, opened for QEMU.
type disk struct {
	path     string
	serial   string
	readOnly bool
	size     int64 // bytes
	file     *os.File
}

// serialScheme marks a mount source that a guest finds by a disk's serial.
const serialScheme = "virtio:"

// openDisks opens the file behind every rootfs mount that has one: EROFS images
// read-only, others as their options say. Mounts without a file (overlay,
// tmpfs) need no disk. serial names each, by its place among the disks.
func openDisks(mounts []*types.Mount, serial func(index int, m *types.Mount) string) (disks []disk, err error) {
	defer func() {
		if err != nil {
			closeDisks(disks)
		}
	}()
	for _, m := range mounts {
		if !hasDisk(m) {
			continue
		}
		d := disk{path: m.Source, serial: serial(len(disks), m), readOnly: m.Type == "erofs" || slices.Contains(m.Options, "ro")}
		flag := os.O_RDWR
		if d.readOnly {
			flag = os.O_RDONLY
		}
		if d.file, err = os.OpenFile(m.Source, flag, 0); err != nil {
			return disks, fmt.Errorf("opening a disk of the virtual machine: %w", err)
		}
		disks = append(disks, d)
		info, err := d.file.Stat()
		if err == nil {
			disks[len(disks)-1].size = info.Size()
		}
		if err != nil || !info.Mode().IsRegular() {
			return disks, fmt.Errorf("opening a disk of the virtual machine: %s is not a regular file: %w", m.Source, errdefs.ErrInvalidArgument)
		}
	}
	return disks, nil
}

// byIndex names the disks of a machine without slots.
func byIndex(index int, _ *types.Mount) string { return layerSerial(index) }

// bySlot names the disks of a machine with slots: the writable disk has the slot
// of a fresh or a used one. Layers come first in a rootfs.
func bySlot(fresh bool) func(int, *types.Mount) string {
	return func(index int, m *types.Mount) string {
		switch {
		case m.Type != "ext4":
			return layerSerial(index)
		case fresh:
			return freshSerial
		}
		return usedSerial
	}
}

// hasDisk says whether a mount's source is a file system in a file.
func hasDisk(m *types.Mount) bool {
	return (m.Type == "erofs" || m.Type == "ext4") && filepath.IsAbs(m.Source)
}

func closeDisks(disks []disk) {
	for _, d := range disks {
		d.file.Close()
	}
}

// serials maps each disk's path to its serial.
func serials(disks []disk) map[string]string {
	out := make(map[string]string, len(disks))
	for _, d := range disks {
		out[d.path] = d.serial
	}
	return out
}

// guestMounts returns mounts as the guest is to make them: files become the
// serials of the disks that the machine was booted with.
func guestMounts(mounts []*types.Mount, serials map[string]string) ([]*types.Mount, error) {
	out := make([]*types.Mount, 0, len(mounts))
	for _, m := range mounts {
		g := &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: slices.DeleteFunc(slices.Clone(m.Options), isLoop)}
		if hasDisk(m) {
			serial, ok := serials[m.Source]
			if !ok {
				return nil, fmt.Errorf("the virtual machine was booted without the disk %s: %w", m.Source, errdefs.ErrInvalidArgument)
			}
			g.Source = serialScheme + serial
		}
		out = append(out, g)
	}
	return out, nil
}

// isLoop finds the option that only a host's mount of a file needs.
func isLoop(option string) bool { return option == "loop" }
