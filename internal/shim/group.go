package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"

	"bothy/internal/shimapi"
	"bothy/internal/vm"
)

// machineGroup is the host's cgroup of a container whose home is a machine:
// the one that its spec names. It has QEMU in it and no limits, for those are
// the guest's.
func machineGroup(bundle, id string) (cgroups.Manager, error) {
	path, err := groupPath(bundle, id)
	if err != nil {
		return nil, err
	}
	group, err := manager.New(&cgroups.Cgroup{Path: path, Resources: &cgroups.Resources{SkipDevices: true}})
	if err != nil {
		return nil, fmt.Errorf("opening the cgroup %s: %w", path, err)
	}
	return group, nil
}

// groupPath is the spec's cgroup path, or one that is made of the id where the
// spec has none or one in systemd's words.
func groupPath(bundle, id string) (string, error) {
	data, err := os.ReadFile(filepath.Join(bundle, shimapi.SpecFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("finding the cgroup: %w", err)
	}
	var spec struct {
		Linux struct {
			CgroupsPath string `json:"cgroupsPath"`
		} `json:"linux"`
	}
	if err == nil {
		if err := json.Unmarshal(data, &spec); err != nil {
			return "", fmt.Errorf("finding the cgroup: %w", err)
		}
	}
	path := spec.Linux.CgroupsPath
	if path == "" || strings.Contains(path, ":") {
		path = "bothy/" + id
	}
	return filepath.Join("/", path), nil
}

// machineError is the machine's own, unless the host's kernel is to blame.
func machineError(machine *vm.Machine, group cgroups.Manager) error {
	err := machine.Err()
	if err == nil || !machine.Killed() {
		return err
	}
	if n, countErr := group.OOMKillCount(); countErr == nil && n > 0 {
		return fmt.Errorf("the host ran out of memory and killed the container's virtual machine: %w", errdefs.ErrUnavailable)
	}
	return err
}
