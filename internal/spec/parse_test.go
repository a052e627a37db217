package spec

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/profiles/seccomp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestMerge(t *testing.T) {
	t.Parallel()
	img := &dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{
		User: "www", Env: []string{"A=image", "B=image"}, Entrypoint: []string{"/entry"}, Cmd: []string{"arg"}, WorkingDir: "/srv",
		Labels: map[string]string{"l": "image", "m": "image"}, StopSignal: "SIGQUIT", Volumes: map[string]struct{}{"/data": {}},
		ExposedPorts: map[string]struct{}{"80/tcp": {}, "90-91": {}},
	}, DockerOCIImageConfigExt: dockerspec.DockerOCIImageConfigExt{Healthcheck: &dockerspec.HealthcheckConfig{Test: []string{"CMD", "x"}, Retries: 3}}}
	user := &container.Config{Env: []string{"A=user"}, Labels: map[string]string{"l": "user"}, Healthcheck: &dockerspec.HealthcheckConfig{Retries: 5}}
	got, err := Merge(user, img)
	if err != nil {
		t.Fatal(err)
	}
	want := &container.Config{
		User: "www", Env: []string{"A=user", "B=image"}, Entrypoint: []string{"/entry"}, Cmd: []string{"arg"}, WorkingDir: "/srv",
		Labels: map[string]string{"l": "user", "m": "image"}, StopSignal: "SIGQUIT", Volumes: map[string]struct{}{"/data": {}},
		ExposedPorts: network.PortSet{network.MustParsePort("80"): {}, network.MustParsePort("90"): {}, network.MustParsePort("91"): {}},
		Healthcheck:  &dockerspec.HealthcheckConfig{Test: []string{"CMD", "x"}, Retries: 5},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if len(user.Env) != 1 || len(user.Labels) != 1 {
		t.Error("the user's own settings were changed")
	}
}

func TestMergeCommand(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		entrypoint, cmd         []string
		imgEntrypoint, imgCmd   []string
		wantEntrypoint, wantCmd []string
	}{
		"image":                {nil, nil, []string{"e"}, []string{"c"}, []string{"e"}, []string{"c"}},
		"command":              {nil, []string{"x"}, []string{"e"}, []string{"c"}, []string{"e"}, []string{"x"}},
		"entrypoint":           {[]string{"y"}, nil, []string{"e"}, []string{"c"}, []string{"y"}, nil},
		"entrypoint taken off": {[]string{""}, []string{"x"}, []string{"e"}, []string{"c"}, nil, []string{"x"}},
		"empty entrypoint":     {[]string{}, nil, []string{"e"}, []string{"c"}, []string{}, []string{"c"}},
		"nothing":              {nil, nil, nil, nil, nil, nil},
		"nothing left":         {[]string{""}, nil, []string{"e"}, []string{"c"}, nil, nil},
	} {
		img := &dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Entrypoint: tc.imgEntrypoint, Cmd: tc.imgCmd}}
		got, err := Merge(&container.Config{Entrypoint: tc.entrypoint, Cmd: tc.cmd}, img)
		if strings.HasPrefix(name, "nothing") {
			if !errdefs.IsInvalidArgument(err) || !strings.HasPrefix(err.Error(), "no command specified") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got.Entrypoint, tc.wantEntrypoint) || !reflect.DeepEqual(got.Cmd, tc.wantCmd) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestPrepareBinds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	made := filepath.Join(dir, "a", "b")
	if err := PrepareBinds(&container.HostConfig{Binds: []string{made + ":/x"}}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(made); err != nil || !info.IsDir() {
		t.Errorf("%v, %v", info, err)
	}
	missing := mount.Mount{Type: mount.TypeBind, Source: filepath.Join(dir, "c"), Target: "/x"}
	err := PrepareBinds(&container.HostConfig{Mounts: []mount.Mount{missing}})
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), `invalid mount config for type "bind": bind source path does not exist: `) {
		t.Error(err)
	}
	missing.BindOptions = &mount.BindOptions{CreateMountpoint: true}
	if err := PrepareBinds(&container.HostConfig{Mounts: []mount.Mount{missing}}); err != nil {
		t.Error(err)
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		hc    container.HostConfig
		count int
		has   []string
	}{
		"default":      {container.HostConfig{}, 14, []string{"CAP_NET_RAW", "CAP_AUDIT_WRITE"}},
		"add and drop": {container.HostConfig{CapAdd: []string{"sys_admin", "CAP_KILL"}, CapDrop: []string{"CHOWN"}}, 14, []string{"CAP_SYS_ADMIN"}},
		"all but one":  {container.HostConfig{CapAdd: []string{"all"}, CapDrop: []string{"BPF"}}, 40, []string{"CAP_SYS_ADMIN"}},
		"none":         {container.HostConfig{CapDrop: []string{"ALL"}}, 0, nil},
		"only one":     {container.HostConfig{CapDrop: []string{"ALL"}, CapAdd: []string{"CHOWN"}}, 1, []string{"CAP_CHOWN"}},
		"privileged":   {container.HostConfig{Privileged: true, CapDrop: []string{"ALL"}}, 41, []string{"CAP_SYS_ADMIN"}},
	} {
		got, err := Capabilities(&tc.hc, AllCapabilities)
		if err != nil || len(got) != tc.count {
			t.Errorf("%s: %d: %v, %v", name, len(got), got, err)
		}
		for _, c := range tc.has {
			if !slices.Contains(got, c) {
				t.Errorf("%s: no %s", name, c)
			}
		}
	}
}

func TestHostCapabilities(t *testing.T) {
	t.Parallel()
	mask, err := HostCapabilities()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Capabilities(&container.HostConfig{Privileged: true}, mask&^1) // without CAP_CHOWN
	if err != nil || slices.Contains(got, "CAP_CHOWN") {
		t.Errorf("%v, %v", got, err)
	}
}

func TestSeccompConditions(t *testing.T) {
	t.Parallel()
	profile, err := parseProfile(`{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[
		{"names":["always"],"action":"SCMP_ACT_ALLOW"},{"name":"old","action":"SCMP_ACT_ALLOW"},
		{"names":["new"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.5"}},
		{"names":["before"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"6.5"}},
		{"names":["admin"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
		{"names":["user"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]}},
		{"names":["arm"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64"]}},
		{"names":["notarm"],"action":"SCMP_ACT_ALLOW","excludes":{"arches":["arm64"]}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for want, host := range map[string]seccompHost{
		"always old before user notarm": {arch: "amd64", kernel: "6.1.0-56-cloud-amd64"},
		"always old new admin notarm":   {arch: "amd64", caps: []string{"CAP_SYS_ADMIN"}},
		"always old new user arm":       {arch: "arm64", kernel: "6.18"},
	} {
		filter, err := host.resolve(profile)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, call := range filter.Syscalls {
			names = append(names, call.Names...)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%+v: got %s, want %s", host, got, want)
		}
		if amd := host.arch == "amd64"; amd != slices.Contains(filter.Architectures, specs.ArchX86) {
			t.Errorf("%+v: architectures %v", host, filter.Architectures)
		}
	}
	if _, err := (seccompHost{kernel: "odd"}).resolve(profile); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

// TestSeccompDefault holds our reading of docker's profile against its
// library's own, which asks the kernel of this host.
func TestSeccompDefault(t *testing.T) {
	t.Parallel()
	s, err := Build(input(func(*Input) {}))
	if err != nil {
		t.Fatal(err)
	}
	want, err := seccomp.GetDefaultProfile(s)
	if err != nil {
		t.Skipf("the library cannot read its profile here: %v", err)
	}
	if !reflect.DeepEqual(s.Linux.Seccomp, want) {
		t.Error("the filters differ")
	}
}

func TestParseLog(t *testing.T) {
	t.Parallel()
	got, err := ParseLog(container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3", "mode": "blocking", "compress": "false"}})
	if err != nil || got != (Log{Driver: "json-file", MaxSize: 10_000_000, MaxFiles: 3}) {
		t.Errorf("%+v, %v", got, err)
	}
	for key, value := range map[string]string{"max-size": "odd", "max-file": "0", "mode": "non-blocking", "compress": "true", "tag": "x"} {
		if _, err := ParseLog(container.LogConfig{Config: map[string]string{key: value}}); err == nil {
			t.Errorf("%s=%s was accepted", key, value)
		}
	}
	if _, err := ParseLog(container.LogConfig{Config: map[string]string{"max-file": "3"}}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

func TestHostDevices(t *testing.T) {
	t.Parallel()
	h := HostDevices{Dev: "/dev"}
	d, err := h.Device("/dev/null")
	if err != nil || d.Major != 1 || d.Minor != 3 || d.Type != "c" {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := h.Device(t.TempDir()); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	if _, err := h.Device("/dev/not-there"); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	all, err := h.Below("/dev")
	if err != nil || !slices.ContainsFunc(all, func(d specs.LinuxDevice) bool { return d.Path == "/dev/null" }) {
		t.Errorf("%d devices, %v", len(all), err)
	}
}

func FuzzParseBind(f *testing.F) {
	for _, s := range []string{"/a:/b", "/a:/b:ro,rslave,z", "name:/b", "a:b:c:d", "/a:/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := parseBind(text)
		if err != nil {
			return
		}
		if !filepath.IsAbs(b.Source) || !filepath.IsAbs(b.Target) || b.Target == "/" || b.Propagation == "" {
			t.Errorf("%q: %+v", text, b)
		}
	})
}

func FuzzTmpfsOptions(f *testing.F) {
	f.Add("noexec,size=1m,exec,mode=1777")
	f.Add("uid=1,,=")
	f.Fuzz(func(t *testing.T, text string) {
		merged, err := mergeTmpfsOptions(strings.Split(text, ","))
		if err != nil {
			return
		}
		again, err := mergeTmpfsOptions(merged)
		if err != nil || !slices.Equal(again, merged) {
			t.Errorf("%q: %v and then %v, %v", text, merged, again, err)
		}
	})
}

func FuzzSmallParsers(f *testing.F) {
	f.Add("c 13:* rwm", "0-2,4", "6.1.0-56", "user:group")
	f.Fuzz(func(t *testing.T, rule, cpus, kernel, user string) {
		if r, err := parseDeviceRule(rule); err == nil && (r.Major == nil || r.Minor == nil || *r.Major < -1) {
			t.Errorf("%q: %+v", rule, r)
		}
		_ = validCPUSet(cpus)
		_, _, _ = parseKernel(kernel)
		if ValidateUser(user) == nil && strings.ContainsAny(user, " \n\x00/") {
			t.Errorf("user %q was accepted", user)
		}
	})
}

func FuzzSeccompProfile(f *testing.F) {
	f.Add(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["x"],"action":"SCMP_ACT_ERRNO","includes":{"minKernel":"4.8"}}]}`)
	f.Add(`{"syscalls":[null]}`)
	f.Fuzz(func(t *testing.T, text string) {
		profile, err := parseProfile(text)
		if err != nil {
			return
		}
		if _, err := (seccompHost{arch: "amd64", kernel: "6.1"}).resolve(profile); err != nil {
			t.Error(err)
		}
	})
}

func TestFitCPUs(t *testing.T) {
	t.Parallel()
	for nano, ok := range map[int64]bool{0: true, 10_000_000: true, 2_000_000_000: true, 2_000_000_001: false, 99_000_000_000: false} {
		if err := FitCPUs(&container.Resources{NanoCPUs: nano}, 2); (err == nil) != ok {
			t.Errorf("%d nanoseconds a second of 2 CPUs: %v", nano, err)
		}
	}
}
