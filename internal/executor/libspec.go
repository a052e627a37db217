package executor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// readSpec reads a bundle's runtime spec and completes it.
func readSpec(bundle string) (*specs.Spec, error) {
	data, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, wrap(err, "reading the bundle's spec")
	}
	spec := &specs.Spec{}
	if err := json.Unmarshal(data, spec); err != nil {
		return nil, errorf(errdefs.ErrInvalidArgument, "reading the bundle's spec: %w", err)
	}
	return spec, complete(bundle, spec)
}

// complete makes a bundle's spec one that can be used. Paths in it that are
// relative to the bundle come out absolute: libcontainer takes them relative to
// the working directory, which a server with many bundles has not.
func complete(bundle string, spec *specs.Spec) error {
	switch {
	case spec.Process == nil:
		return errorf(errdefs.ErrInvalidArgument, "the bundle's spec has no process")
	case spec.Root == nil:
		return errorf(errdefs.ErrInvalidArgument, "the bundle's spec has no root")
	case spec.Linux == nil:
		return errorf(errdefs.ErrInvalidArgument, "the bundle's spec has no linux section")
	}
	if spec.Annotations[AllDevicesAnnotation] == "true" {
		if err := addAllDevices(spec, "/dev"); err != nil {
			return err
		}
	}
	spec.Root.Path = inBundle(bundle, spec.Root.Path)
	for i, m := range spec.Mounts {
		if m.Source != "" && isBind(m) {
			spec.Mounts[i].Source = inBundle(bundle, m.Source)
		}
	}
	return nil
}

func isBind(m specs.Mount) bool {
	if m.Type == "bind" {
		return true
	}
	for _, o := range m.Options {
		if o == "bind" || o == "rbind" {
			return true
		}
	}
	return false
}

func inBundle(bundle, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(bundle, path)
}

// containerConfig is libcontainer's form of a runtime spec.
func containerConfig(id, bundle string, spec *specs.Spec) (*configs.Config, error) {
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: id, Spec: spec})
	if err != nil {
		return nil, errorf(errdefs.ErrInvalidArgument, "reading the spec: %w", err)
	}
	for i, label := range config.Labels { // hooks are told the bundle by this label
		if strings.HasPrefix(label, "bundle=") {
			config.Labels[i] = "bundle=" + bundle
		}
	}
	return config, nil
}

// newProcess is libcontainer's form of a process to start, without stdio.
func newProcess(p *specs.Process) (*libcontainer.Process, error) {
	if err := checkProcess(p); err != nil {
		return nil, err
	}
	lp := &libcontainer.Process{
		Args:            p.Args,
		Env:             p.Env,
		UID:             int(p.User.UID),
		GID:             int(p.User.GID),
		Cwd:             p.Cwd,
		Label:           p.SelinuxLabel,
		NoNewPrivileges: &p.NoNewPrivileges,
		AppArmorProfile: p.ApparmorProfile,
		Scheduler:       p.Scheduler,
		IOPriority:      p.IOPriority,
	}
	if p.ConsoleSize != nil {
		lp.ConsoleWidth, lp.ConsoleHeight = uint16(p.ConsoleSize.Width), uint16(p.ConsoleSize.Height)
	}
	if c := p.Capabilities; c != nil {
		lp.Capabilities = &configs.Capabilities{
			Bounding: c.Bounding, Effective: c.Effective, Inheritable: c.Inheritable, Permitted: c.Permitted, Ambient: c.Ambient,
		}
	}
	for _, gid := range p.User.AdditionalGids {
		lp.AdditionalGroups = append(lp.AdditionalGroups, int(gid))
	}
	var err error
	if lp.Rlimits, err = rlimits(p.Rlimits); err != nil {
		return nil, err
	}
	if lp.CPUAffinity, err = configs.ConvertCPUAffinity(p.ExecCPUAffinity); err != nil {
		return nil, errorf(errdefs.ErrInvalidArgument, "the process's CPU affinity: %w", err)
	}
	return lp, nil
}

func checkProcess(p *specs.Process) error {
	switch {
	case len(p.Args) == 0: // an empty word is a command that is not found
		return errorf(errdefs.ErrInvalidArgument, "no command specified")
	case !filepath.IsAbs(p.Cwd):
		return errorf(errdefs.ErrInvalidArgument, "the working directory %q is invalid: it needs to be an absolute path", p.Cwd)
	}
	return nil
}

// rlimitNumbers are the kernel's numbers of the names in a runtime spec.
var rlimitNumbers = map[string]int{
	"RLIMIT_AS":         unix.RLIMIT_AS,
	"RLIMIT_CORE":       unix.RLIMIT_CORE,
	"RLIMIT_CPU":        unix.RLIMIT_CPU,
	"RLIMIT_DATA":       unix.RLIMIT_DATA,
	"RLIMIT_FSIZE":      unix.RLIMIT_FSIZE,
	"RLIMIT_LOCKS":      unix.RLIMIT_LOCKS,
	"RLIMIT_MEMLOCK":    unix.RLIMIT_MEMLOCK,
	"RLIMIT_MSGQUEUE":   unix.RLIMIT_MSGQUEUE,
	"RLIMIT_NICE":       unix.RLIMIT_NICE,
	"RLIMIT_NOFILE":     unix.RLIMIT_NOFILE,
	"RLIMIT_NPROC":      unix.RLIMIT_NPROC,
	"RLIMIT_RSS":        unix.RLIMIT_RSS,
	"RLIMIT_RTPRIO":     unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME":     unix.RLIMIT_RTTIME,
	"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_STACK":      unix.RLIMIT_STACK,
}

func rlimits(in []specs.POSIXRlimit) ([]configs.Rlimit, error) {
	var out []configs.Rlimit
	for _, r := range in {
		number, ok := rlimitNumbers[r.Type]
		if !ok {
			return nil, errorf(errdefs.ErrInvalidArgument, "unknown resource limit %q", r.Type)
		}
		out = append(out, configs.Rlimit{Type: number, Soft: r.Soft, Hard: r.Hard})
	}
	return out, nil
}
