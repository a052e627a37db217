package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/api/types"
)

// serialScheme marks a mount source that is a disk's serial.
const serialScheme = "virtio:"

// disks finds block devices by their serials.
type disks struct {
	uevents *uevents
	modules *modules
}

// resolve replaces a serial by the device that has it. The kernel then knows
// the mount's file system.
func (d *disks) resolve(m *types.Mount) (*types.Mount, error) {
	d.modules.wait("virtio_blk", m.Type)
	serial, ok := strings.CutPrefix(m.Source, serialScheme)
	if !ok {
		return m, nil
	}
	var device string
	err := d.uevents.until("the disk "+serial, func() (found bool, err error) {
		device, err = findDisk(serial)
		return device != "", err
	})
	if err != nil {
		return nil, fmt.Errorf("finding a disk: %w", err)
	}
	return &types.Mount{Type: m.Type, Source: device, Target: m.Target, Options: m.Options}, nil
}

// findDisk returns the device with the serial, "" if there is none.
func findDisk(serial string) (string, error) {
	paths, err := filepath.Glob("/sys/block/vd*/serial")
	if err != nil {
		return "", err
	}
	for _, path := range paths {
		got, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(got)) == serial {
			return "/dev/" + filepath.Base(filepath.Dir(path)), nil
		}
	}
	return "", nil
}
