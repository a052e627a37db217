package engine

import (
	"context"

	"github.com/moby/moby/api/types/container"

	files "bothy/internal/rootfs"
)

// maxChanges bounds in bytes the list of a container's changes: a guest could
// make it up.
const maxChanges = 64 << 20

// madeForMounts are files that exist only so that something can be mounted on
// them, and the container's mark: docker counts none of them as a change.
var madeForMounts = []string{
	"/.dockerenv", "/dev", "/dev/console", "/dev/pts", "/dev/shm", "/dev/mqueue",
	"/etc", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/proc", "/sys", "/sys/fs", "/sys/fs/cgroup",
}

// ContainerChanges lists what a container has changed of its image's files.
func (s *Containers) ContainerChanges(ctx context.Context, ref string) ([]container.FilesystemChange, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, err
	}
	client, done, err := s.connectFiles(ctx, c)
	if err != nil {
		return nil, err
	}
	defer done()
	all := []container.FilesystemChange{}
	err = client.Changes(ctx, madeForMounts, maxChanges, func(change files.Change) {
		all = append(all, container.FilesystemChange{Kind: container.ChangeType(change.Kind), Path: change.Path})
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
