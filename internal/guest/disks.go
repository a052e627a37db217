package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/containerd/api/types"
)

// serialScheme marks a mount source that is a disk's serial.
const serialScheme = "virtio:"

// disks finds block devices by their serials.
type disks struct {
	uevents *uevents
	modules *modules
	fresh   bool // the fresh disk is mounted; set at rest only

	mu    sync.Mutex        // guards known
	known map[string]string // devices by their disks' serials, as seen at rest; nil: it has never rested
}

// resolve replaces a serial by the device that has it. The kernel then knows
// the mount's file system.
func (d *disks) resolve(m *types.Mount) (*types.Mount, error) {
	d.modules.wait("virtio_blk", m.Type)
	serial, ok := strings.CutPrefix(m.Source, serialScheme)
	if !ok {
		return m, nil
	}
	if d.fresh && serial == freshSerial {
		return &types.Mount{Type: "bind", Source: freshDisk, Target: m.Target}, nil
	}
	device, err := d.find(serial)
	if err != nil {
		return nil, fmt.Errorf("finding a disk: %w", err)
	}
	return &types.Mount{Type: m.Type, Source: device, Target: m.Target, Options: m.Options}, nil
}

// find returns the device of a disk, and waits for it. A machine that went on
// from a template has to look for devices that the template did not have.
func (d *disks) find(serial string) (device string, err error) {
	d.mu.Lock()
	device, rested := d.known[serial], d.known != nil
	d.mu.Unlock()
	if device != "" {
		return device, nil
	}
	if rested {
		if err := rescan(); err != nil {
			return "", err
		}
	}
	err = d.uevents.until("the disk "+serial, func() (found bool, err error) {
		device, err = findDisk(serial)
		return device != "", err
	})
	return device, err
}

// rescan makes the kernel look for devices on the machine's bus.
func rescan() error {
	if err := os.WriteFile("/sys/bus/pci/rescan", []byte("1"), 0); err != nil {
		return fmt.Errorf("looking for further devices: %w", err)
	}
	return nil
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
