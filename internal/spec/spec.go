// Package spec turns the settings of an image and of a container into an OCI
// runtime spec, with docker's defaults, and says at creation what a home
// cannot do or bothy cannot yet.
//
// Everything here is a function of its arguments, so that golden files can
// show it; what must be looked up on a host (device numbers, capabilities) goes
// through Input. The package must not know where images, containers or networks are
// kept, nor which kernel the container will meet.
package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// GroupAddAnnotation holds --group-add for the executor: names or numbers, as
// the user typed them, separated by commas. They are resolved beneath the
// container's root, as process.user.username is.
const GroupAddAnnotation = "bothy.group-add"

// VolumesAnnotation asks the executor for directories that an image declares as
// volumes, a JSON list of paths.
const VolumesAnnotation = "bothy.volumes"

// MarkerAnnotation asks the executor for an empty file in the root directory;
// marker is docker's, by which programs know that they are in a container.
const (
	MarkerAnnotation = "bothy.marker"
	marker           = ".dockerenv"
)

// AllDevicesAnnotation, when "true", asks the executor to add every device
// node of the /dev that it sees: a privileged container in a machine, whose
// devices the engine cannot know.
const AllDevicesAnnotation = "bothy.all-devices"

// Input is all that Build needs. Config is merged with the image's already
// (Merge), and Refuse has accepted what the user asked for.
type Input struct {
	ID         string
	Home       Home
	Config     *container.Config
	HostConfig *container.HostConfig
	// Hostname is decided by the engine: the user's, the short ID, or the
	// host's where the network is the host's.
	Hostname string
	// NetNS is the path of the network namespace. In the process home ""
	// shares the host's; in the VM home "" lets the guest make one.
	NetNS string
	// HostnameFile, HostsFile, ResolvConfFile are absolute host paths to bind
	// at their places below /etc; "": not bound.
	HostnameFile, HostsFile, ResolvConfFile string
	// CgroupsPath is where the container's cgroup goes, "/bothy/<id>";
	// HostConfig.CgroupParent, if set, takes the place of its directory.
	CgroupsPath string
	// CgroupV1 says that the host (process home) has cgroup v1 controllers.
	CgroupV1 bool
	// NoSwapLimit says that the host's kernel has no swap accounting: a swap
	// limit that only follows from the memory limit is then left out.
	NoSwapLimit bool
	// Kernel is the release ("6.1") that conditions of a seccomp profile are
	// held against; "": newer than any of them.
	Kernel string
	// Capabilities is the mask (CapBnd) of what --privileged and --cap-add ALL
	// can give; 0: all in the VM home, this process's own in the process home.
	Capabilities uint64
	// Devices looks up host devices; nil: the host's /dev.
	Devices Devices
}

// Build makes the spec. The root is left as "rootfs", relative to the bundle;
// the user is left unresolved in process.user.username.
func Build(in Input) (*specs.Spec, error) {
	if in.Config == nil || in.HostConfig == nil {
		return nil, invalidf("making the spec of container %s: no configuration", in.ID)
	}
	if in.Devices == nil {
		in.Devices = HostDevices{Dev: "/dev"}
	}
	if err := in.setCapabilities(); err != nil {
		return nil, fmt.Errorf("making the spec of container %s: %w", in.ID, err)
	}
	s := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: "rootfs", Readonly: in.HostConfig.ReadonlyRootfs},
		Linux: &specs.Linux{
			CgroupsPath: cgroupsPath(in),
			Namespaces:  namespaces(in),
			Sysctl:      sysctls(in),
		},
		Annotations: annotations(in),
	}
	if !in.HostConfig.UTSMode.IsHost() {
		s.Hostname, s.Domainname = in.Hostname, in.Config.Domainname
	}
	steps := []func(Input, *specs.Spec) error{process, security, resources, devices, mounts, seccompFilter}
	for _, step := range steps {
		if err := step(in, s); err != nil {
			return nil, fmt.Errorf("making the spec of container %s: %w", in.ID, err)
		}
	}
	return s, nil
}

func (in *Input) setCapabilities() (err error) {
	if in.Capabilities == 0 {
		in.Capabilities = AllCapabilities
		if in.Home == Process {
			in.Capabilities, err = HostCapabilities()
		}
	}
	return err
}

// cgroupsPath honours --cgroup-parent.
func cgroupsPath(in Input) string {
	if in.HostConfig.CgroupParent == "" {
		return in.CgroupsPath
	}
	return path.Join("/", in.HostConfig.CgroupParent, path.Base(in.CgroupsPath))
}

func namespaces(in Input) []specs.LinuxNamespace {
	hc := in.HostConfig
	ns := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	add := func(kind specs.LinuxNamespaceType, own bool, path string) {
		if own {
			ns = append(ns, specs.LinuxNamespace{Type: kind, Path: path})
		}
	}
	add(specs.NetworkNamespace, in.NetNS != "" || in.Home == VM, in.NetNS)
	add(specs.UTSNamespace, !hc.UTSMode.IsHost(), "")
	add(specs.PIDNamespace, !hc.PidMode.IsHost(), "")
	add(specs.IPCNamespace, !hc.IpcMode.IsHost(), "")
	add(specs.CgroupNamespace, privateCgroupns(in), "")
	return ns
}

// privateCgroupns has docker's default: private with cgroup v2 (a guest always
// has that), the host's with v1.
func privateCgroupns(in Input) bool {
	if in.HostConfig.CgroupnsMode.IsEmpty() {
		return in.Home == VM || !in.CgroupV1
	}
	return in.HostConfig.CgroupnsMode.IsPrivate()
}

// sysctls adds what lets an unprivileged user ping and bind low ports in a
// network namespace of its own, as docker does.
func sysctls(in Input) map[string]string {
	all := map[string]string{}
	if !in.HostConfig.NetworkMode.IsHost() {
		all["net.ipv4.ping_group_range"] = "0 2147483647"
		all["net.ipv4.ip_unprivileged_port_start"] = "0"
	}
	for key, value := range in.HostConfig.Sysctls {
		all[key] = value
	}
	return all
}

func annotations(in Input) map[string]string {
	all := map[string]string{MarkerAnnotation: marker}
	for key, value := range in.HostConfig.Annotations {
		all[key] = value
	}
	if len(in.HostConfig.GroupAdd) > 0 {
		all[GroupAddAnnotation] = strings.Join(in.HostConfig.GroupAdd, ",")
	}
	if len(in.Config.Volumes) > 0 {
		list, _ := json.Marshal(slices.Sorted(maps.Keys(in.Config.Volumes))) // strings always marshal
		all[VolumesAnnotation] = string(list)
	}
	if in.Home == VM && in.HostConfig.Privileged {
		all[AllDevicesAnnotation] = "true"
	}
	return all
}
