package spec

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// fakeDevices is a host with a disk, a directory of two nodes and nothing else.
type fakeDevices struct{}

func (fakeDevices) Device(path string) (specs.LinuxDevice, error) {
	if path != "/dev/disk" {
		return specs.LinuxDevice{}, notFoundf("%s: no such device on this host", path)
	}
	return specs.LinuxDevice{Path: path, Type: "b", Major: 8, Minor: 1}, nil
}

func (fakeDevices) Below(dir string) ([]specs.LinuxDevice, error) {
	return []specs.LinuxDevice{{Path: dir + "/a", Type: "c", Major: 13, Minor: 1}, {Path: dir + "/sub/b", Type: "c", Major: 13, Minor: 2}}, nil
}

func (fakeDevices) IsDir(path string) bool { return path == "/dev/dir" }

func input(change func(*Input)) Input {
	in := Input{
		ID: "0123456789ab", Home: Process, Hostname: "0123456789ab", NetNS: "/run/bothy/c/0123456789ab/netns",
		Config:       &container.Config{Cmd: []string{"sh", "-c", "true"}, Env: []string{"A=1"}},
		HostConfig:   &container.HostConfig{},
		HostnameFile: "/state/hostname", HostsFile: "/state/hosts", ResolvConfFile: "/state/resolv.conf",
		CgroupsPath: "/bothy/0123456789ab", Devices: fakeDevices{}, Capabilities: AllCapabilities,
	}
	change(&in)
	return in
}

func cases() map[string]func(*Input) {
	pids, swappiness, no := int64(64), int64(-1), false
	return map[string]func(*Input){
		"default":    func(*Input) {},
		"vm":         func(in *Input) { in.Home, in.NetNS = VM, "" },
		"v1":         func(in *Input) { in.CgroupV1 = true },
		"privileged": func(in *Input) { in.HostConfig.Privileged = true },
		"host namespaces": func(in *Input) {
			in.NetNS, in.HostConfig.NetworkMode = "", "host"
			in.HostConfig.PidMode, in.HostConfig.IpcMode, in.HostConfig.UTSMode, in.HostConfig.CgroupnsMode = "host", "host", "host", "host"
		},
		"settings": func(in *Input) {
			in.Config.Tty, in.Config.User, in.Config.WorkingDir, in.Config.Domainname = true, "www:data", "/tmp", "example.org"
			in.Config.Env = []string{"PATH=/bin", "TERM=vt100", "B=2"}
			in.Config.Entrypoint = []string{"/entry"}
			in.Config.Volumes = map[string]struct{}{"/var/lib/b": {}, "/data,a": {}}
			in.HostConfig = &container.HostConfig{
				ReadonlyRootfs: true, CapDrop: []string{"ALL"}, CapAdd: []string{"net_admin", "CAP_KILL"}, OomScoreAdj: 500,
				ConsoleSize: [2]uint{24, 80}, GroupAdd: []string{"audio", "1000"}, ShmSize: 1 << 20,
				SecurityOpt: []string{"no-new-privileges", "seccomp=unconfined"},
				Sysctls:     map[string]string{"net.core.somaxconn": "99"},
				Tmpfs:       map[string]string{"/scratch": "size=1m,mode=1777,exec", "/b": ""},
				Binds:       []string{"/src:/dst:ro", "/src2:/dst/in:rslave,z"},
				Mounts: []mount.Mount{
					{Type: mount.TypeBind, Source: "/file", Target: "/etc/hosts", BindOptions: &mount.BindOptions{NonRecursive: true}, ReadOnly: true},
					{Type: mount.TypeTmpfs, Target: "/t", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 4096, Mode: 0o700}},
				},
				Annotations: map[string]string{"org.example": "x"},
			}
		},
		"resources": func(in *Input) {
			in.CgroupV1 = true
			in.HostConfig.Resources = container.Resources{
				Memory: 128 << 20, NanoCPUs: 500_000_000, PidsLimit: &pids, CPUShares: 512, CpusetCpus: "0-1", MemoryReservation: 64 << 20,
				MemorySwappiness: &swappiness, OomKillDisable: &no, BlkioWeight: 100, CgroupParent: "/tenants",
				Ulimits: []*container.Ulimit{{Name: "nofile", Soft: 99, Hard: 99}, {Name: "core", Soft: -1, Hard: -1}},
				Devices: []container.DeviceMapping{
					{PathOnHost: "/dev/disk", PathInContainer: "/dev/xvda", CgroupPermissions: "r"}, {PathOnHost: "/dev/dir"},
				},
				DeviceCgroupRules: []string{"c 13:* rwm"},
			}
		},
	}
}

func TestBuildGolden(t *testing.T) {
	t.Parallel()
	for name, change := range cases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Build(input(change))
			if err != nil {
				t.Fatal(err)
			}
			if s.Linux.Seccomp != nil && name != "default" {
				s.Linux.Seccomp.Syscalls = nil // shown once
			}
			got, err := json.MarshalIndent(s, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.ReplaceAll(name, " ", "-")+".json", append(got, '\n'))
		})
	}
}

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it):\n%s", path, got)
	}
}

func TestBuildErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*Input)
		is     func(error) bool
	}{
		"no command": {func(in *Input) { in.Config.Cmd = nil }, errdefs.IsInvalidArgument},
		"no device": {func(in *Input) {
			in.HostConfig.Devices = []container.DeviceMapping{{PathOnHost: "/dev/no"}}
		}, errdefs.IsNotFound},
		"device of a machine": {func(in *Input) {
			in.Home = VM
			in.HostConfig.Devices = []container.DeviceMapping{{PathOnHost: "/dev/disk"}}
		}, errdefs.IsNotImplemented},
	} {
		if _, err := Build(input(tc.change)); !tc.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseHome(t *testing.T) {
	t.Parallel()
	for in, want := range map[container.Isolation]Home{"": VM, "default": VM, "process": Process, "Process": Process, "vm": VM, "hyperv": VM, "HyperV": VM, "no": ""} {
		got, err := ParseHome(in, VM)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("ParseHome(%q) = %q, %v", in, got, err)
		}
	}
	if got, _ := ParseHome("", ""); got != Process {
		t.Errorf("without a default: %q", got)
	}
}

func TestReplaceEnv(t *testing.T) {
	t.Parallel()
	got := ReplaceEnv([]string{"A=1", "B=2", "C=3"}, []string{"B=", "C", "D=4", "E"})
	if want := "A=1 B= D=4"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
