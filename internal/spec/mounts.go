package spec

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// DefaultShmSize is the size in bytes of /dev/shm where --shm-size is not given.
const DefaultShmSize = 64 << 20

// mounts puts together docker's default mounts, the files of /etc and what the
// user asked for; a user's mount takes the place of a default one at or above it.
func mounts(in Input, s *specs.Spec) error {
	user, err := userMounts(in.HostConfig)
	if err != nil {
		return err
	}
	all := etcMounts(in)
	for _, m := range defaultMounts(in.HostConfig) {
		if !covered(m.Destination, user) {
			all = append(all, m)
		}
	}
	all = slices.DeleteFunc(all, func(m specs.Mount) bool {
		return slices.ContainsFunc(user, func(u specs.Mount) bool { return u.Destination == m.Destination })
	})
	all = append(all, user...)
	// A mount comes after those that it lies in.
	slices.SortStableFunc(all, func(a, b specs.Mount) int { return depth(a.Destination) - depth(b.Destination) })
	s.Mounts = all
	s.Linux.RootfsPropagation = rootfsPropagation(user)
	return nil
}

// covered says whether a user's mount replaces the default one at dest: one
// at the same place, or one of the whole /dev.
func covered(dest string, user []specs.Mount) bool {
	return slices.ContainsFunc(user, func(u specs.Mount) bool {
		return u.Destination == dest || (u.Destination == "/dev" && strings.HasPrefix(dest, "/dev/"))
	})
}

func depth(dest string) int { return strings.Count(path.Clean(dest), "/") }

func defaultMounts(hc *container.HostConfig) []specs.Mount {
	readonly := "ro"
	if hc.Privileged && !hc.ReadonlyRootfs {
		readonly = "rw"
	}
	all := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", readonly}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{readonly, "nosuid", "noexec", "nodev"}},
	}
	return append(all, ipcMounts(hc)...)
}

// ipcMounts are message queues and shared memory: those of the container's IPC
// namespace, be it the host's, or (--ipc none) neither.
func ipcMounts(hc *container.HostConfig) []specs.Mount {
	if hc.IpcMode.IsNone() {
		return nil
	}
	queues := specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}}
	if hc.IpcMode.IsHost() {
		return []specs.Mount{queues, {Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: []string{"rbind", "rprivate"}}}
	}
	size := hc.ShmSize
	if size == 0 {
		size = DefaultShmSize
	}
	return []specs.Mount{queues, {
		Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
		Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.FormatInt(size, 10)},
	}}
}

func etcMounts(in Input) []specs.Mount {
	options := []string{"rbind", "rprivate"}
	if in.HostConfig.ReadonlyRootfs {
		options = append(options, "ro")
	}
	var all []specs.Mount
	for _, f := range []struct{ dest, source string }{
		{"/etc/resolv.conf", in.ResolvConfFile}, {"/etc/hostname", in.HostnameFile}, {"/etc/hosts", in.HostsFile},
	} {
		if f.source != "" {
			all = append(all, specs.Mount{Destination: f.dest, Type: "bind", Source: f.source, Options: options})
		}
	}
	return all
}

// userMounts are --tmpfs, --volume and --mount.
func userMounts(hc *container.HostConfig) ([]specs.Mount, error) {
	tmpfs, err := tmpfsMounts(hc)
	if err != nil {
		return nil, err
	}
	binds, err := Binds(hc)
	if err != nil {
		return nil, err
	}
	for _, b := range binds {
		tmpfs = append(tmpfs, b.mount())
	}
	return tmpfs, checkTargets(tmpfs)
}

// rootfsPropagation: a bind that follows the host's mounts needs a root that
// does; nothing else does.
func rootfsPropagation(user []specs.Mount) string {
	for _, m := range user {
		if slices.Contains(m.Options, "slave") || slices.Contains(m.Options, "rslave") {
			return "rslave"
		}
	}
	return ""
}
