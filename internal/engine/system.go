package engine

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	"golang.org/x/sys/unix"

	"bothy/internal/engineapi"
	"bothy/internal/event"
	"bothy/internal/version"
)

// System answers for the engine as a whole.
type System struct {
	opts       Options
	id         string
	host       host
	containers *Containers
	images     imageStore
	bus        *event.Bus
	warnings   func() []string // of the network's; nil: none
}

func newSystem(opts Options, h host, containers *Containers, images imageStore, bus *event.Bus) (*System, error) {
	id, err := engineID(filepath.Join(opts.DataRoot, "engine-id"))
	if err != nil {
		return nil, err
	}
	return &System{opts: opts, id: id, host: h, containers: containers, images: images, bus: bus}, nil
}

// engineID reads the engine's ID, and draws it at the first start.
func engineID(path string) (string, error) {
	data, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(data)); err == nil && id != "" {
		return id, nil
	}
	id := newID()
	id = fmt.Sprintf("%s-%s-%s-%s-%s", id[:8], id[8:12], id[12:16], id[16:20], id[20:32])
	if err := os.WriteFile(path, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("writing the engine's ID: %w", err)
	}
	return id, nil
}

// Subscribe gives past events since (zero: none) and then live ones until ctx
// ends; a subscriber that falls too far behind has its channel closed.
func (s *System) Subscribe(ctx context.Context, since, until time.Time, filters engineapi.Filters) ([]events.Message, <-chan events.Message, error) {
	filter, err := event.NewFilter(filters)
	if err != nil {
		return nil, nil, err
	}
	past, live, cancel := s.bus.Subscribe(since, until, filter)
	context.AfterFunc(ctx, cancel)
	return past, live, nil
}

// Version gives the engine's version and its components'.
func (s *System) Version(context.Context) (*system.VersionResponse, error) {
	v := &system.VersionResponse{
		Platform:      system.PlatformInfo{Name: "bothy"},
		Version:       version.Version,
		GitCommit:     version.Commit,
		BuildTime:     version.Time,
		Os:            runtime.GOOS,
		Arch:          runtime.GOARCH,
		GoVersion:     runtime.Version(),
		KernelVersion: s.host.kernel,
		Components: []system.ComponentVersion{{
			Name: "Engine", Version: version.Version,
			Details: map[string]string{
				"Os": runtime.GOOS, "Arch": runtime.GOARCH, "GoVersion": runtime.Version(), "KernelVersion": s.host.kernel,
				"GitCommit": version.Commit, "BuildTime": version.Time,
			},
		}},
	}
	if p, ok := s.containers.starter.machines.peek(); ok {
		v.Components = append(v.Components, system.ComponentVersion{
			Name: "Guest kernel", Version: p.kernel.Version, Details: map[string]string{"Image": p.kernel.Image, "Accelerator": p.accel.String()},
		})
	}
	return v, nil
}

// Info tells what the engine has and can do.
func (s *System) Info(ctx context.Context) (*system.Info, error) {
	all, up, paused, down := s.containers.counts()
	images, err := s.images.List(ctx)
	if err != nil {
		return nil, err
	}
	h := s.host
	info := &system.Info{
		ID:         s.id,
		Containers: all, ContainersRunning: up, ContainersPaused: paused, ContainersStopped: down,
		Images:             len(images),
		Driver:             storageDriver,
		DriverStatus:       s.driverStatus(),
		Plugins:            system.PluginsInfo{Volume: []string{}, Network: []string{"bridge", "host", "null"}, Log: []string{"json-file", "none"}},
		MemoryLimit:        true,
		SwapLimit:          !h.noSwapLimit,
		CPUCfsPeriod:       true,
		CPUCfsQuota:        true,
		CPUShares:          true,
		CPUSet:             true,
		PidsLimit:          true,
		OomKillDisable:     h.cgroupV1,
		IPv4Forwarding:     readsOne("/proc/sys/net/ipv4/ip_forward"),
		Debug:              s.opts.Debug,
		NFd:                openFiles(),
		NGoroutines:        runtime.NumGoroutine(),
		SystemTime:         time.Now().Format(time.RFC3339Nano),
		LoggingDriver:      s.opts.LogConfig.Type,
		CgroupDriver:       "cgroupfs",
		CgroupVersion:      cgroupVersion(h),
		NEventsListener:    s.bus.Listeners(),
		KernelVersion:      h.kernel,
		OperatingSystem:    h.osName,
		OSVersion:          h.osVersion,
		OSType:             runtime.GOOS,
		Architecture:       machineName(),
		IndexServerAddress: "https://index.docker.io/v1/",
		RegistryConfig:     s.registryConfig(),
		NCPU:               h.cpus,
		MemTotal:           h.memory,
		DockerRootDir:      s.opts.DataRoot,
		Name:               h.name,
		Labels:             append([]string{}, s.opts.Labels...),
		ServerVersion:      version.Version,
		Runtimes:           map[string]system.RuntimeWithStatus{defaultRuntime: {Runtime: system.Runtime{Type: "io.containerd.bothy.v2"}}},
		DefaultRuntime:     defaultRuntime,
		LiveRestoreEnabled: true,
		Isolation:          s.opts.Isolation,
		SecurityOptions:    []string{"name=seccomp,profile=builtin"},
		Warnings:           []string{},
	}
	if s.warnings != nil {
		info.Warnings = append(info.Warnings, s.warnings()...)
	}
	if !h.cgroupV1 {
		info.SecurityOptions = append(info.SecurityOptions, "name=cgroupns")
	}
	if h.noSwapLimit {
		info.Warnings = append(info.Warnings, "WARNING: No swap limit support")
	}
	if !h.erofs {
		info.Warnings = append(info.Warnings, "WARNING: this kernel has no EROFS: containers cannot be started, virtual machines can")
	}
	return info, nil
}

// driverStatus are the rows that `docker info` shows below the storage driver.
func (s *System) driverStatus() [][2]string {
	rows := [][2]string{{"Backing Filesystem", filesystemName(s.opts.DataRoot)}}
	p, ok := s.containers.starter.machines.peek()
	if !ok {
		reason := s.containers.starter.machines.missing()
		return append(rows, [2]string{"VM", reason})
	}
	templates := "off"
	if t := s.containers.starter.machines.templates; t != nil {
		templates = t.describe()
	}
	return append(rows,
		[2]string{"VM accelerator", p.accel.String()},
		[2]string{"VM kernel", p.kernel.Version},
		[2]string{"VM emulator", p.accel.QEMU},
		[2]string{"VM templates", templates},
		[2]string{"VM pool", s.containers.starter.pool.String()},
	)
}

func (s *System) registryConfig() *registry.ServiceConfig {
	cfg := &registry.ServiceConfig{
		IndexConfigs: map[string]*registry.IndexInfo{
			"docker.io": {Name: "docker.io", Mirrors: []string{}, Secure: true, Official: true},
		},
		Mirrors: []string{},
	}
	for _, cidr := range []string{"127.0.0.0/8", "::1/128"} { // without TLS if there is none
		cfg.InsecureRegistryCIDRs = append(cfg.InsecureRegistryCIDRs, netip.MustParsePrefix(cidr))
	}
	for _, host := range s.opts.InsecureRegistries {
		if cidr, err := netip.ParsePrefix(host); err == nil {
			cfg.InsecureRegistryCIDRs = append(cfg.InsecureRegistryCIDRs, cidr.Masked())
			continue
		}
		cfg.IndexConfigs[host] = &registry.IndexInfo{Name: host, Mirrors: []string{}}
	}
	return cfg
}

func cgroupVersion(h host) string {
	if h.cgroupV1 {
		return "1"
	}
	return "2"
}

func readsOne(path string) bool {
	data, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(data)) == "1"
}

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}

// machineName is the architecture as uname has it: "x86_64".
func machineName() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return runtime.GOARCH
	}
	return unix.ByteSliceToString(u.Machine[:])
}

// filesystemName names the file system that path is on.
func filesystemName(path string) string {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return "unknown"
	}
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "extfs", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.F2FS_SUPER_MAGIC: "f2fs",
	}
	if name, ok := names[int64(st.Type)]; ok {
		return name
	}
	return "0x" + strconv.FormatInt(int64(st.Type), 16)
}
