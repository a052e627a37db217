package executor

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func plainSpec() *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_SETGID", "CAP_SETUID"}
	return &specs.Spec{
		Root: &specs.Root{Path: "/x/rootfs"}, Hostname: "a", Annotations: map[string]string{"a": "b"},
		Process: &specs.Process{
			Args: []string{"true"}, Cwd: "/", Env: []string{"A=1"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc"}, {Destination: "/dev", Type: "tmpfs"}, {Destination: "/sys", Type: "sysfs"},
			{Destination: "/dev/shm", Type: "tmpfs"},
			{Destination: "/etc/hosts", Type: "bind", Source: "/hosts", Options: []string{"rbind", "rprivate"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/bothy/a", MaskedPaths: []string{"/proc/kcore"}, ReadonlyPaths: []string{"/sys/x"},
			Sysctl: map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"},
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace}, {Type: specs.NetworkNamespace, Path: "/netns/a"},
			},
			Resources: &specs.LinuxResources{},
		},
	}
}

// TestShapeIsWhatCannotBeGivenLater changes one thing after the other.
func TestShapeIsWhatCannotBeGivenLater(t *testing.T) {
	t.Parallel()
	limit, umask := int64(1), uint32(0o77)
	groups := map[string]map[string]func(*specs.Spec){
		"same": {
			"command":  func(s *specs.Spec) { s.Process.Args, s.Process.Env, s.Process.Cwd = []string{"b"}, nil, "/tmp" },
			"user":     func(s *specs.Spec) { s.Process.User = specs.User{UID: 5, GID: 6, AdditionalGids: []uint32{7}} },
			"names":    func(s *specs.Spec) { s.Hostname, s.Domainname, s.Annotations = "b", "c", nil },
			"root":     func(s *specs.Spec) { s.Root.Path = "/y" },
			"bind":     func(s *specs.Spec) { s.Mounts = s.Mounts[:4] },
			"limits":   func(s *specs.Spec) { s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &limit} },
			"rlimits":  func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}} },
			"its name": func(s *specs.Spec) { s.Linux.CgroupsPath = "bothy/b" },
		},
		"other": {
			"capability": func(s *specs.Spec) {
				s.Process.Capabilities.Bounding = append(s.Process.Capabilities.Bounding, "CAP_KILL")
			},
			"seccomp":    func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow} },
			"masks":      func(s *specs.Spec) { s.Linux.MaskedPaths = nil },
			"read-only":  func(s *specs.Spec) { s.Linux.ReadonlyPaths = append(s.Linux.ReadonlyPaths, "/proc/sys") },
			"sysctl":     func(s *specs.Spec) { s.Linux.Sysctl["net.ipv4.ping_group_range"] = "0 0" },
			"network":    func(s *specs.Spec) { s.Linux.Namespaces[5].Path = "/netns/b" },
			"no network": func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:5] },
			"mount":      func(s *specs.Spec) { s.Mounts[3].Options = []string{"size=1m"} },
			"device":     func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "c"}} },
			"umask":      func(s *specs.Spec) { s.Process.User.Umask = &umask },
			"score":      func(s *specs.Spec) { n := 5; s.Process.OOMScoreAdj = &n },
			"parent":     func(s *specs.Spec) { s.Linux.CgroupsPath = "/others/a" },
		},
		"none": {
			"terminal":     func(s *specs.Spec) { s.Process.Terminal = true },
			"privileges":   func(s *specs.Spec) { s.Process.NoNewPrivileges = true },
			"capabilities": func(s *specs.Spec) { s.Process.Capabilities.Effective = nil },
			"ambient":      func(s *specs.Spec) { s.Process.Capabilities.Ambient = []string{"CAP_CHOWN"} },
			"hooks":        func(s *specs.Spec) { s.Hooks = &specs.Hooks{} },
			"root":         func(s *specs.Spec) { s.Root.Readonly = true },
			"sysctl":       func(s *specs.Spec) { s.Linux.Sysctl["net.ipv4.conf.eth0.forwarding"] = "1" },
			"mask":         func(s *specs.Spec) { s.Linux.MaskedPaths = []string{"/etc/shadow"} },
			"namespace":    func(s *specs.Spec) { s.Linux.Namespaces[1].Path = "/proc/1/ns/pid" },
			"host's":       func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[1:] },
			"users": func(s *specs.Spec) {
				s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			},
			"tmpfs":       func(s *specs.Spec) { s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs"}) },
			"device bind": func(s *specs.Spec) { s.Mounts[4].Destination = "/dev/hosts" },
			"shared bind": func(s *specs.Spec) { s.Mounts[4].Options = []string{"rbind", "rshared"} },
			"over root":   func(s *specs.Spec) { s.Mounts[4].Destination = "/../" },
			"no proc":     func(s *specs.Spec) { s.Mounts = s.Mounts[1:] },
			"propagation": func(s *specs.Spec) { s.Linux.RootfsPropagation = "shared" },
			"apparmor":    func(s *specs.Spec) { s.Process.ApparmorProfile = "x" },
		},
	}
	plain, ok := shapeOf(plainSpec())
	if !ok {
		t.Fatal("a plain spec has no shape")
	}
	for want, changes := range groups {
		for name, change := range changes {
			spec := plainSpec()
			change(spec)
			got := "none"
			if s, ok := shapeOf(spec); ok {
				got = map[bool]string{true: "same", false: "other"}[plain.is(s)]
			}
			if got != want {
				t.Errorf("%s: the shape is %s, want %s", name, got, want)
			}
		}
	}
}
