package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"
)

// freshDisk is where the machine's fresh disk is mounted at rest, and its
// practiceDir what a practice container has written there.
const (
	freshDisk   = "/run/rw"
	practiceDir = freshDisk + "/practice"
)

// freshSerial is the serial of the disk that a machine's host has a copy of for
// each machine that goes on from here.
const freshSerial = "rw"

// rest serves link.RestMethod: it does ahead what any container will need.
// Afterwards the machine may be kept, and go on many times over, with other
// disks behind all devices but the fresh one: nothing of them may be in memory.
func (g *guest) rest(ctx context.Context, unmarshal func(any) error) (any, error) {
	var empty emptypb.Empty
	if err := unmarshal(&empty); err != nil {
		return nil, err
	}
	if err := g.settle(); err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("getting ready to wait: %w", err))
	}
	g.trace.mark("at rest")
	return &empty, nil
}

func (g *guest) settle() error {
	g.disks.modules.waitAll()
	if err := g.disks.mountFresh(); err != nil {
		return err
	}
	if err := os.RemoveAll(practiceDir); err != nil {
		return err
	}
	if err := g.task.ready(); err != nil {
		return err
	}
	unix.Sync()
	if err := g.disks.forget(); err != nil {
		return err
	}
	runtime.GC()
	debug.FreeOSMemory()
	return nil
}

// mountFresh mounts the fresh disk, if it is not mounted yet.
func (d *disks) mountFresh() error {
	if d.fresh {
		return nil
	}
	m, err := d.resolve(&types.Mount{Type: "ext4", Source: serialScheme + freshSerial})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(freshDisk, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.Source, freshDisk, m.Type, 0, ""); err != nil {
		return fmt.Errorf("mounting the fresh disk: %w", err)
	}
	d.fresh = true
	return nil
}

// forget drops what the kernel keeps of the disks' contents, but for the fresh
// one's, and remembers which device is which disk: they stay the same.
func (d *disks) forget() error {
	paths, err := filepath.Glob("/sys/block/vd*/serial")
	if err != nil {
		return err
	}
	known := map[string]string{}
	for _, path := range paths {
		serial, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimSpace(string(serial))
		known[name] = "/dev/" + filepath.Base(filepath.Dir(path))
		if name == freshSerial {
			continue
		}
		if err := flush(known[name]); err != nil {
			return fmt.Errorf("forgetting what is on the disk %s: %w", name, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = known
	return nil
}

// A file system that nobody sees any more may stay mounted for a moment, until
// the kernel has let go of the last process that used it.
const (
	unmountTimeout = 10 * time.Second
	unmountPoll    = 2 * time.Millisecond
)

// flush drops the kernel's cache of a block device that no file system is on any
// more. One that still is would be found again when another disk is mounted from
// the same device, so it is waited for.
func flush(device string) error {
	f, err := openUnmounted(device)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0), f.Close())
}

// openUnmounted opens a block device once no file system is on it.
func openUnmounted(device string) (*os.File, error) {
	for deadline := time.Now().Add(unmountTimeout); ; time.Sleep(unmountPoll) {
		f, err := os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return f, err
		}
	}
}
