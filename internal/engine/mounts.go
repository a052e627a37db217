package engine

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/api/types"
)

// The writable side of a container, in its state directory.
const (
	upperDir = "rw/upper" // process home
	workDir  = "rw/work"
	diskFile = "disk.img" // VM home: an ext4 file system
)

// rootfs computes the mounts that make a container's root: its image's layers
// (EROFS files, the lowest first), and over them what is writable. Targets and
// the overlay's directories are relative to the bundle, but for the process
// home's writable side, which is a directory of the host. Of an ephemeral
// container, which is removed when it ends, nothing that it writes is forced to
// disk: neither by itself nor when its root is unmounted, which would otherwise
// write out all that anybody has written to that file system.
func rootfs(vm, ephemeral bool, layers []string, stateDir string) []*types.Mount {
	var mounts []*types.Mount
	lower := make([]string, len(layers)) // the topmost first
	for i, file := range layers {
		target := fmt.Sprintf("l/%d", i)
		lower[len(layers)-1-i] = target
		mounts = append(mounts, &types.Mount{Type: "erofs", Source: file, Target: target, Options: []string{"ro"}})
	}
	upper, work := filepath.Join(stateDir, upperDir), filepath.Join(stateDir, workDir)
	if vm {
		upper, work = "rw/upper", "rw/work"
		mounts = append(mounts, &types.Mount{Type: "ext4", Source: filepath.Join(stateDir, diskFile), Target: "rw"})
	}
	options := []string{"lowerdir=" + strings.Join(lower, ":"), "upperdir=" + upper, "workdir=" + work}
	if ephemeral && !vm { // a machine is killed with its disk
		options = append(options, "volatile")
	}
	return append(mounts, &types.Mount{Type: "overlay", Source: "overlay", Options: options})
}
