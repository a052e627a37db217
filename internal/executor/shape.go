package executor

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// shape is all of a runtime spec that a container made ahead has for good: two
// containers of one shape differ in what a zygote can be given afterwards. The
// fields that vary are empty in it; a field that nobody thought of is part of it.
type shape struct{ spec *specs.Spec }

func (s shape) is(other shape) bool { return reflect.DeepEqual(s.spec, other.spec) }

// shapeOf gives the shape of a spec; ok is false for one that a container can
// only be made from as a whole.
func shapeOf(spec *specs.Spec) (_ shape, ok bool) {
	if spec.Hooks != nil || spec.Root.Readonly || spec.Linux == nil || !plainProcess(spec.Process) || !plainLinux(spec.Linux) {
		return shape{}, false
	}
	fixed, _, ok := splitMounts(spec.Mounts)
	if !ok {
		return shape{}, false
	}
	s, process, linux := *spec, *spec.Process, *spec.Linux
	s.Root, s.Hostname, s.Domainname, s.Annotations, s.Mounts = nil, "", "", nil, fixed
	process.Args, process.Env, process.Cwd = nil, nil, ""
	process.User = specs.User{Umask: spec.Process.User.Umask}
	process.Rlimits, process.ConsoleSize = nil, nil
	linux.CgroupsPath, linux.Resources = filepath.Dir(filepath.Join("/", linux.CgroupsPath)), nil
	s.Process, s.Linux = &process, &linux
	return shape{&s}, true
}

// needed are the capabilities that a waiting process needs to become the
// container's user.
var needed = []string{"CAP_CHOWN", "CAP_SETGID", "CAP_SETUID"}

// plainProcess says whether a waiting process can become this one.
func plainProcess(p *specs.Process) bool {
	c := p.Capabilities
	if p.Terminal || p.NoNewPrivileges || c == nil || len(c.Ambient)+len(c.Inheritable) != 0 {
		return false
	}
	for _, name := range needed {
		if !slices.Contains(c.Effective, name) || !slices.Contains(c.Permitted, name) || !slices.Contains(c.Bounding, name) {
			return false
		}
	}
	return p.ApparmorProfile == "" && p.SelinuxLabel == "" && p.Scheduler == nil && p.IOPriority == nil && p.ExecCPUAffinity == nil
}

// plainSysctls are those that nothing done later has a say in.
var plainSysctls = []string{"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range"}

// plainLinux says whether all that a spec says of the kernel can be had ahead.
func plainLinux(l *specs.Linux) bool {
	for name := range l.Sysctl {
		if !slices.Contains(plainSysctls, name) {
			return false
		}
	}
	for _, path := range slices.Concat(l.MaskedPaths, l.ReadonlyPaths) {
		if t := tree(path); t != "/proc" && t != "/sys" {
			return false
		}
	}
	for _, d := range l.Devices {
		if tree(d.Path) != "/dev" {
			return false
		}
	}
	return ownNamespaces(l.Namespaces) && (l.Seccomp == nil || l.Seccomp.ListenerPath == "") &&
		len(l.UIDMappings)+len(l.GIDMappings) == 0 && l.RootfsPropagation == "" && l.MountLabel == "" &&
		l.IntelRdt == nil && l.Personality == nil && len(l.TimeOffsets) == 0 && l.MemoryPolicy == nil && len(l.NetDevices) == 0
}

// ownNamespaces says whether the namespaces are the container's own, but for
// the network's, which may be any.
func ownNamespaces(list []specs.LinuxNamespace) bool {
	own := map[specs.LinuxNamespaceType]bool{}
	for _, n := range list {
		if n.Type != specs.NetworkNamespace && n.Path != "" {
			return false
		}
		own[n.Type] = true
	}
	for _, t := range []specs.LinuxNamespaceType{
		specs.MountNamespace, specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace,
	} {
		if !own[t] {
			return false
		}
		delete(own, t)
	}
	delete(own, specs.NetworkNamespace)
	return len(own) == 0
}

// trees are the directories whose contents are the kernel's and not the root
// file system's: a container made ahead has them.
var trees = []string{"/proc", "/dev", "/sys"}

// tree is the first directory of a path, as it is written: "/dev" of "/dev/shm".
func tree(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(filepath.Clean(path), "/"), "/")
	return "/" + first
}

// splitMounts tells the mounts in the trees from binds elsewhere. It is false
// for any other mount, or if a tree is none of its own.
func splitMounts(mounts []specs.Mount) (fixed, binds []specs.Mount, ok bool) {
	whole := map[string]bool{}
	for _, m := range mounts {
		switch {
		case slices.Contains(trees, tree(m.Destination)):
			if isBind(m) || len(m.UIDMappings)+len(m.GIDMappings) != 0 {
				return nil, nil, false
			}
			whole[filepath.Clean(m.Destination)] = true
			fixed = append(fixed, m)
		case plainBind(m):
			binds = append(binds, m)
		default:
			return nil, nil, false
		}
	}
	return fixed, binds, whole["/proc"] && whole["/dev"] && whole["/sys"]
}

// plainBind says whether a mount is a bind as the engine asks for it.
func plainBind(m specs.Mount) bool {
	if !isBind(m) || len(m.UIDMappings)+len(m.GIDMappings) != 0 || filepath.Clean(m.Destination) == "/" || !filepath.IsAbs(m.Destination) {
		return false
	}
	private := false
	for _, o := range m.Options {
		switch o {
		case "rprivate":
			private = true
		case "bind", "rbind", "ro":
		default:
			return false
		}
	}
	return private
}
