package spec

import (
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// request is what a client asks for at creation.
type request struct {
	cfg        *container.Config
	hc         *container.HostConfig
	networking *network.NetworkingConfig
}

// Refusal is one line of the table of what a home cannot do, or bothy cannot yet.
type Refusal struct {
	Option string // as docker's CLI writes it
	Home   Home   // the home that refuses; "": both
	Reason string // why, and what to do instead
	asked  func(request) bool
}

// String is the line in docs/refused.md.
func (r Refusal) String() string {
	home := "both"
	if r.Home != "" {
		home = r.Home
	}
	return "| " + r.Option + " | " + home + " | " + r.Reason + " |"
}

// Refuse checks, at creation, what a client asks for: nonsense is
// ErrInvalidArgument, what the home cannot do or bothy cannot yet is
// ErrNotImplemented. It is to be called with the client's own configuration,
// before Merge: an image's HEALTHCHECK or VOLUME refuses nobody.
func Refuse(home Home, cfg *container.Config, hc *container.HostConfig, networking *network.NetworkingConfig) error {
	if cfg == nil {
		return invalidf("config cannot be empty in order to create a container")
	}
	if hc == nil {
		hc = &container.HostConfig{}
	}
	r := request{cfg: cfg, hc: hc, networking: networking}
	if err := validate(r); err != nil {
		return err
	}
	for _, refusal := range Refusals() {
		if (refusal.Home == "" || refusal.Home == home) && refusal.asked(r) {
			return refusal.err()
		}
	}
	return nil
}

func (r Refusal) err() error {
	if r.Home == VM {
		return notYetf("%s cannot be used with --isolation vm: %s", r.Option, r.Reason)
	}
	return notYetf("%s: %s", r.Option, r.Reason)
}

// Refusals is the whole table, in the order in which it is applied.
func Refusals() []Refusal {
	return append(vmRefusals(), notYet()...)
}

// vmRefusals are what the wall of a virtual machine stands against.
func vmRefusals() []Refusal {
	const kernel = "the container has a kernel of its own; use --isolation process to share the host's"
	return []Refusal{
		{"--pid host", VM, kernel, func(r request) bool { return r.hc.PidMode.IsHost() }},
		{"--ipc host", VM, kernel, func(r request) bool { return r.hc.IpcMode.IsHost() }},
		{"--uts host", VM, kernel, func(r request) bool { return r.hc.UTSMode.IsHost() }},
		{"--userns host", VM, kernel, func(r request) bool { return r.hc.UsernsMode.IsHost() }},
		{"--cgroupns host", VM, kernel, func(r request) bool { return r.hc.CgroupnsMode.IsHost() }},
		{"--network host", VM, "a virtual machine has a network stack of its own; use the bridge network, or --isolation process", func(r request) bool { return r.hc.NetworkMode.IsHost() }},
		{"--cgroup-parent", VM, "its cgroup is the guest's; leave it out, or use --isolation process", func(r request) bool { return r.hc.CgroupParent != "" }},
		{"--volume and --mount of host directories", VM, "they are not shared with a virtual machine yet; use --isolation process", hasBinds},
		{"--device", VM, "a virtual machine does not have the host's devices, nor /dev/fuse and /dev/net/tun of its own yet; use --isolation process", hasHostDevice},
		{"--blkio-weight-device, --device-read-bps and the like", VM, "a virtual machine does not have the host's devices; use --isolation process", func(r request) bool {
			h := r.hc
			return len(h.BlkioWeightDevice)+len(h.BlkioDeviceReadBps)+len(h.BlkioDeviceWriteBps)+len(h.BlkioDeviceReadIOps)+len(h.BlkioDeviceWriteIOps) > 0
		}},
		{"--memory-swappiness", VM, "a guest has cgroup v2, which has no such setting; leave it out", func(r request) bool {
			return r.hc.MemorySwappiness != nil && *r.hc.MemorySwappiness >= 0
		}},
		{"--oom-kill-disable", VM, "a guest has cgroup v2, which has no such setting; leave it out", func(r request) bool {
			return r.hc.OomKillDisable != nil && *r.hc.OomKillDisable
		}},
	}
}

// notYet are what bothy does not do so far, in either home.
func notYet() []Refusal {
	return append([]Refusal{
		{"--storage-opt size", Process, "a container's writable side has no size limit yet; use --isolation vm", func(r request) bool { return len(r.hc.StorageOpt) > 0 }},
		{"--publish", "", "ports are not published yet; reach the container by its address", func(r request) bool { return len(r.hc.PortBindings) > 0 || r.hc.PublishAllPorts }},
		{"--link", "", "links are not there; use the container's address", func(r request) bool { return len(r.hc.Links) > 0 }},
		{"--restart", "", "restart policies are not there yet; leave it out", func(r request) bool { return !r.hc.RestartPolicy.IsNone() }},
		{"--health-cmd", "", "health checks are not run yet; leave it out", hasHealthcheck},
		{"--init", "", "an init of the engine's own is not there yet; leave it out", func(r request) bool { return r.hc.Init != nil && *r.hc.Init }},
		{"--volume and --mount of volumes", "", "volumes are not there yet; bind a host directory with --isolation process", hasVolumes},
		{"--volumes-from", "", "volumes are not there yet; bind a host directory with --isolation process", func(r request) bool { return len(r.hc.VolumesFrom) > 0 }},
		{"--volume-driver", "", "there is only the local driver; leave it out", func(r request) bool { return r.hc.VolumeDriver != "" && r.hc.VolumeDriver != "local" }},
		{"--mount type=image", "", "images are not mounted yet; copy the files", hasMount(mount.TypeImage)},
		{"--ipc shareable", "", "containers do not share IPC yet; leave it out", func(r request) bool { return r.hc.IpcMode.IsShareable() }},
		{"--ipc container", "", "containers do not share IPC yet; leave it out", func(r request) bool { return r.hc.IpcMode.IsContainer() }},
		{"--pid container", "", "containers do not share a PID namespace yet; leave it out", func(r request) bool { return r.hc.PidMode.IsContainer() }},
		{"--network container", "", "containers do not share a network yet; use the bridge network", func(r request) bool { return r.hc.NetworkMode.IsContainer() }},
		{"NetworkDisabled", "", "use the network \"none\"", func(r request) bool { return r.cfg.NetworkDisabled }},
		{"HostConfig.Cgroup", "", "containers do not share a cgroup; leave it out", func(r request) bool { return r.hc.Cgroup != "" }},
		{"--gpus", "", "devices are not requested by driver yet; leave it out", func(r request) bool { return len(r.hc.DeviceRequests) > 0 }},
		{"--cpu-rt-period and --cpu-rt-runtime", "", "real-time scheduling is not there; leave it out", func(r request) bool {
			return r.hc.CPURealtimePeriod != 0 || r.hc.CPURealtimeRuntime != 0
		}},
		{"--annotation bothy.*", "", "annotations that begin with \"bothy.\" are bothy's own, and this one cannot be set", hasReservedAnnotation},
	}, networkRefusals()...)
}

// networkRefusals concern the ways in which a container joins a network.
func networkRefusals() []Refusal {
	endpoint := func(asked func(*network.EndpointSettings) bool) func(request) bool {
		return func(r request) bool {
			if r.networking == nil {
				return false
			}
			for _, e := range r.networking.EndpointsConfig {
				if e != nil && asked(e) {
					return true
				}
			}
			return false
		}
	}
	return []Refusal{
		{"--network, given more than once", "", "a container joins one network; leave the others out", func(r request) bool {
			return r.networking != nil && len(r.networking.EndpointsConfig) > 1
		}},
		{"--network-alias", "", "names on networks are not there yet; use the container's address", endpoint(func(e *network.EndpointSettings) bool { return len(e.Aliases) > 0 })},
		{"--link", "", "links are not there; use the container's address", endpoint(func(e *network.EndpointSettings) bool { return len(e.Links) > 0 })},
		{"--network driver-opt", "", "endpoints have no driver options; leave them out", endpoint(func(e *network.EndpointSettings) bool { return len(e.DriverOpts) > 0 })},
		{"--ip, --ip6 and --link-local-ip", "", "addresses are chosen on user-defined networks only, which are not there yet; leave it out", endpoint(func(e *network.EndpointSettings) bool {
			c := e.IPAMConfig
			return c != nil && (c.IPv4Address.IsValid() || c.IPv6Address.IsValid() || len(c.LinkLocalIPs) > 0)
		})},
	}
}

func hasBinds(r request) bool {
	return len(r.hc.Binds) > 0 || hasMount(mount.TypeBind)(r)
}

// hasHostDevice: a guest has some devices of its own, by the same names.
func hasHostDevice(r request) bool {
	return slices.ContainsFunc(r.hc.Devices, func(m container.DeviceMapping) bool {
		_, ok := guestDevice(path.Clean(m.PathOnHost))
		return !ok
	})
}

func hasVolumes(r request) bool {
	return len(r.cfg.Volumes) > 0 || hasMount(mount.TypeVolume)(r)
}

func hasMount(kind mount.Type) func(request) bool {
	return func(r request) bool {
		for _, m := range r.hc.Mounts {
			if m.Type == kind {
				return true
			}
		}
		return false
	}
}

// hasHealthcheck: ["NONE"] (--no-healthcheck) asks for what happens anyway.
func hasHealthcheck(r request) bool {
	h := r.cfg.Healthcheck
	if h == nil || (len(h.Test) == 1 && h.Test[0] == "NONE") {
		return false
	}
	return len(h.Test) > 0 || h.Interval != 0 || h.Timeout != 0 || h.StartPeriod != 0 || h.StartInterval != 0 || h.Retries != 0
}

func hasReservedAnnotation(r request) bool {
	for key := range r.hc.Annotations {
		if strings.HasPrefix(key, "bothy.") {
			return true
		}
	}
	return false
}
