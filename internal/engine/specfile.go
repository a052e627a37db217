package engine

import (
	"path/filepath"

	"bothy/internal/shimapi"
	"bothy/internal/spec"
)

// writeSpec puts the OCI spec into the bundle.
func (s *starter) writeSpec(c *ctr, rec record, p prepared, files networkFiles) error {
	in := spec.Input{
		ID:             rec.ID,
		Home:           rec.Home,
		Config:         rec.Config,
		HostConfig:     rec.HostConfig,
		Hostname:       rec.Config.Hostname,
		HostnameFile:   files.hostname,
		HostsFile:      files.hosts,
		ResolvConfFile: files.resolv,
		CgroupsPath:    filepath.Join(s.opts.CgroupParent, rec.ID),
		CgroupV1:       s.host.cgroupV1,
		NoSwapLimit:    s.host.noSwapLimit,
		Kernel:         s.host.kernel,
	}
	if rec.Home == spec.VM {
		in.CgroupV1, in.NoSwapLimit, in.Kernel = false, false, p.machineStatus.Kernel
	} else if p.endpoint != nil && p.endpoint.File != nil {
		in.NetNS = filepath.Join(s.bundle(c.id), shimapi.NetNSFile)
	}
	built, err := spec.Build(in)
	if err != nil {
		return err
	}
	return storeError("starting", c.id, writeJSON(filepath.Join(s.bundle(c.id), shimapi.SpecFile), built, false))
}
