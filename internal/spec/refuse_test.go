package spec

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// fate is what becomes of a field of the API.
type fate int

const (
	handled     fate = iota // by this package or by the engine
	refused                 // in both homes, when it asks for something
	refusedVM               // in the VM home only
	refusedHost             // in the process home only
	meaningless             // on Linux, or at this moment
)

// fates names every field; a field that the API gains makes the test fail
// until somebody decides.
func fates() map[reflect.Type]map[string]fate {
	return map[reflect.Type]map[string]fate{
		reflect.TypeFor[container.Config](): {
			"Hostname": handled, "Domainname": handled, "User": handled, "AttachStdin": handled, "AttachStdout": handled,
			"AttachStderr": handled, "ExposedPorts": handled, "Tty": handled, "OpenStdin": handled, "StdinOnce": handled,
			"Env": handled, "Cmd": handled, "Healthcheck": refused, "ArgsEscaped": meaningless, "Image": handled, "Volumes": refused,
			"WorkingDir": handled, "Entrypoint": handled, "NetworkDisabled": refused, "OnBuild": meaningless, "Labels": handled,
			"StopSignal": handled, "StopTimeout": handled, "Shell": meaningless,
		},
		reflect.TypeFor[container.HostConfig](): {
			"Binds": refusedVM, "ContainerIDFile": meaningless, "LogConfig": handled, "NetworkMode": handled, "PortBindings": refused,
			"RestartPolicy": refused, "AutoRemove": handled, "VolumeDriver": refused, "VolumesFrom": refused, "ConsoleSize": handled,
			"Annotations": handled, "CapAdd": handled, "CapDrop": handled, "CgroupnsMode": handled, "DNS": handled, "DNSOptions": handled,
			"DNSSearch": handled, "ExtraHosts": handled, "GroupAdd": handled, "IpcMode": handled, "Cgroup": refused, "Links": refused,
			"OomScoreAdj": handled, "PidMode": refusedVM, "Privileged": handled, "PublishAllPorts": refused, "ReadonlyRootfs": handled,
			"SecurityOpt": handled, "StorageOpt": refusedHost, "Tmpfs": handled, "UTSMode": refusedVM, "UsernsMode": refusedVM,
			"ShmSize": handled, "Sysctls": handled, "Runtime": handled, "Isolation": handled, "Resources": handled, "Mounts": handled,
			"MaskedPaths": handled, "ReadonlyPaths": handled, "Init": refused,
		},
		reflect.TypeFor[container.Resources](): {
			"CPUShares": handled, "Memory": handled, "NanoCPUs": handled, "CgroupParent": refusedVM, "BlkioWeight": handled,
			"BlkioWeightDevice": refusedVM, "BlkioDeviceReadBps": refusedVM, "BlkioDeviceWriteBps": refusedVM,
			"BlkioDeviceReadIOps": refusedVM, "BlkioDeviceWriteIOps": refusedVM, "CPUPeriod": handled, "CPUQuota": handled,
			"CPURealtimePeriod": refused, "CPURealtimeRuntime": refused, "CpusetCpus": handled, "CpusetMems": handled,
			"Devices": refusedVM, "DeviceCgroupRules": handled, "DeviceRequests": refused, "MemoryReservation": handled,
			"MemorySwap": handled, "MemorySwappiness": refusedVM, "OomKillDisable": refusedVM, "PidsLimit": handled, "Ulimits": handled,
			"CPUCount": meaningless, "CPUPercent": meaningless, "IOMaximumIOps": meaningless, "IOMaximumBandwidth": meaningless,
		},
		reflect.TypeFor[network.EndpointSettings](): {
			"IPAMConfig": refused, "Links": refused, "Aliases": refused, "DriverOpts": refused, "GwPriority": meaningless, "MacAddress": handled,
			"NetworkID": meaningless, "EndpointID": meaningless, "Gateway": meaningless, "IPAddress": meaningless, "IPPrefixLen": meaningless,
			"IPv6Gateway": meaningless, "GlobalIPv6Address": meaningless, "GlobalIPv6PrefixLen": meaningless, "DNSNames": meaningless,
		},
	}
}

// asking gives values that ask for something, for the fields that refuse.
func asking() map[string]any {
	yes, ten := true, int64(10)
	throttle := []*blkiodev.ThrottleDevice{{Path: "/dev/sda", Rate: 1}}
	return map[string]any{
		"Healthcheck": &dockerspec.HealthcheckConfig{Test: []string{"CMD", "true"}}, "Volumes": map[string]struct{}{"/v": {}},
		"NetworkDisabled": true, "Binds": []string{"/a:/b"}, "PortBindings": network.PortMap{network.MustParsePort("80/tcp"): nil},
		"RestartPolicy": container.RestartPolicy{Name: "always"}, "VolumeDriver": "nfs", "VolumesFrom": []string{"c"}, "Cgroup": container.CgroupSpec("container:c"),
		"Links": []string{"a:b"}, "PidMode": container.PidMode("host"), "PublishAllPorts": true, "StorageOpt": map[string]string{"size": "1G"},
		"UTSMode": container.UTSMode("host"), "UsernsMode": container.UsernsMode("host"), "Init": &yes, "CgroupParent": "/x",
		"BlkioWeightDevice": []*blkiodev.WeightDevice{{Path: "/dev/sda", Weight: 10}}, "BlkioDeviceReadBps": throttle, "BlkioDeviceWriteBps": throttle,
		"BlkioDeviceReadIOps": throttle, "BlkioDeviceWriteIOps": throttle, "CPURealtimePeriod": int64(1), "CPURealtimeRuntime": int64(1),
		"Devices": []container.DeviceMapping{{PathOnHost: "/dev/sda"}}, "DeviceRequests": []container.DeviceRequest{{Count: 1}},
		"MemorySwappiness": &ten, "OomKillDisable": &yes, "IPAMConfig": &network.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("10.0.0.1")},
		"Aliases": []string{"a"}, "DriverOpts": map[string]string{"a": "b"},
	}
}

// TestEveryField: no field of a create request is ignored silently.
func TestEveryField(t *testing.T) {
	t.Parallel()
	values := asking()
	for typ, fields := range fates() {
		for field := range typ.Fields() {
			want, ok := fields[field.Name]
			if !ok {
				t.Errorf("%s.%s: nobody has decided what becomes of it", typ, field.Name)
				continue
			}
			if want == handled || want == meaningless {
				continue
			}
			for _, home := range []Home{Process, VM} {
				cfg, hc, endpoint := &container.Config{}, &container.HostConfig{}, &network.EndpointSettings{}
				owner := map[reflect.Type]any{reflect.TypeFor[container.Config](): cfg, reflect.TypeFor[container.HostConfig](): hc,
					reflect.TypeFor[container.Resources](): &hc.Resources, reflect.TypeFor[network.EndpointSettings](): endpoint}[typ]
				reflect.ValueOf(owner).Elem().FieldByName(field.Name).Set(reflect.ValueOf(values[field.Name]))
				err := Refuse(home, cfg, hc, &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"default": endpoint}})
				should := want == refused || (want == refusedVM) == (home == VM)
				if should != errdefs.IsNotImplemented(err) || (!should && err != nil) {
					t.Errorf("%s.%s in home %s: %v", typ, field.Name, home, err)
				}
			}
		}
	}
}

// TestWhatClientsSend: what docker's CLI sends when nothing was asked for.
func TestWhatClientsSend(t *testing.T) {
	t.Parallel()
	minusOne, zero, no := int64(-1), int64(0), false
	hc := &container.HostConfig{
		NetworkMode: "default", RestartPolicy: container.RestartPolicy{Name: "no"}, Binds: nil, CapAdd: nil, ConsoleSize: [2]uint{24, 80},
		IpcMode: "", Isolation: "", LogConfig: container.LogConfig{Config: map[string]string{}}, PortBindings: network.PortMap{},
		Resources: container.Resources{MemorySwappiness: &minusOne, OomKillDisable: &no, PidsLimit: &zero, Devices: []container.DeviceMapping{}},
	}
	nets := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"default": {}}}
	cfg := &container.Config{Image: "x", Cmd: []string{"true"}, Healthcheck: &dockerspec.HealthcheckConfig{Test: []string{"NONE"}}}
	for _, home := range []Home{Process, VM} {
		if err := Refuse(home, cfg, hc, nets); err != nil {
			t.Errorf("home %s: %v", home, err)
		}
		if err := Refuse(home, cfg, nil, nil); err != nil {
			t.Errorf("home %s: %v", home, err)
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	type req struct {
		cfg *container.Config
		hc  *container.HostConfig
	}
	conf := func(c container.Config) req { return req{&c, &container.HostConfig{}} }
	host := func(h container.HostConfig) req { return req{&container.Config{}, &h} }
	res := func(r container.Resources) req { return host(container.HostConfig{Resources: r}) }
	invalid, notYet := errdefs.IsInvalidArgument, errdefs.IsNotImplemented
	for _, tc := range []struct {
		req  req
		is   func(error) bool
		text string
	}{
		{conf(container.Config{WorkingDir: "tmp"}), invalid, "the working directory 'tmp' is invalid, it needs to be an absolute path"},
		{conf(container.Config{Env: []string{"=a"}}), invalid, "invalid environment variable: =a"},
		{conf(container.Config{StopSignal: "SIGNOTHING"}), invalid, "SIGNOTHING"},
		{conf(container.Config{User: "a:b:c"}), invalid, "invalid user"},
		{conf(container.Config{User: "a b"}), invalid, "invalid user"},
		{conf(container.Config{Hostname: strings.Repeat("h", 65)}), invalid, "hostname"},
		{host(container.HostConfig{CapAdd: []string{"FLY"}}), invalid, `unknown capability: "FLY"`},
		{host(container.HostConfig{Isolation: "moon"}), invalid, "invalid isolation"},
		{host(container.HostConfig{Runtime: "runsc"}), invalid, "unknown or invalid runtime name: runsc"},
		{host(container.HostConfig{NetworkMode: "mine"}), invalid, "network mine not found"},
		{host(container.HostConfig{NetworkMode: "container:c"}), notYet, "--network container"},
		{host(container.HostConfig{IpcMode: "shareable"}), notYet, "--ipc shareable"},
		{host(container.HostConfig{IpcMode: "odd"}), invalid, "IPC mode"},
		{host(container.HostConfig{PidMode: "container:c"}), notYet, "--pid container"},
		{host(container.HostConfig{LogConfig: container.LogConfig{Type: "syslog"}}), notYet, "--log-driver syslog"},
		{host(container.HostConfig{LogConfig: container.LogConfig{Config: map[string]string{"odd": "1"}}}), invalid, "unknown log opt 'odd'"},
		{host(container.HostConfig{SecurityOpt: []string{"seccomp={"}}), invalid, "decoding seccomp profile"},
		{host(container.HostConfig{SecurityOpt: []string{"apparmor=mine"}}), notYet, "AppArmor"},
		{host(container.HostConfig{SecurityOpt: []string{"odd"}}), invalid, "invalid --security-opt"},
		{host(container.HostConfig{Sysctls: map[string]string{"vm.swappiness": "1"}}), invalid, "vm.swappiness"},
		{host(container.HostConfig{NetworkMode: "host", Sysctls: map[string]string{"net.core.somaxconn": "1"}}), invalid, "net.core.somaxconn"},
		{host(container.HostConfig{Tmpfs: map[string]string{"/t": "size=1m,odd"}}), invalid, `invalid tmpfs option "odd"`},
		{host(container.HostConfig{Tmpfs: map[string]string{"t": ""}}), invalid, "must be absolute"},
		{host(container.HostConfig{Tmpfs: map[string]string{"/t": ""}, Binds: []string{"/a:/t/"}}), invalid, "duplicate mount point: /t"},
		{host(container.HostConfig{Binds: []string{"name:/t"}}), notYet, "named volumes"},
		{host(container.HostConfig{Binds: []string{"/a:/"}}), invalid, "destination can't be '/'"},
		{host(container.HostConfig{Binds: []string{"/a:/b:odd"}}), invalid, "invalid mode: odd"},
		{host(container.HostConfig{Binds: []string{"/a:/b:rshared"}}), notYet, "propagation"},
		{host(container.HostConfig{Mounts: []mount.Mount{{Type: "odd", Target: "/t"}}}), invalid, "mount type unknown"},
		{host(container.HostConfig{Mounts: []mount.Mount{{Type: "volume", Target: "/t"}}}), notYet, "volumes"},
		{host(container.HostConfig{Mounts: []mount.Mount{{Type: "image", Source: "i", Target: "/t"}}}), notYet, "type=image"},
		{host(container.HostConfig{Mounts: []mount.Mount{{Type: "bind", Source: "a", Target: "/t"}}}), invalid, "must be absolute"},
		{host(container.HostConfig{Mounts: []mount.Mount{{Type: "tmpfs", Source: "a", Target: "/t"}}}), invalid, "Source must not"},
		{host(container.HostConfig{ShmSize: -1}), invalid, "SHM size can not be less than 0"},
		{host(container.HostConfig{OomScoreAdj: 1001}), invalid, "range for oom score adj"},
		{host(container.HostConfig{GroupAdd: []string{"a,b"}}), invalid, "invalid group"},
		{host(container.HostConfig{ExtraHosts: []string{"a"}}), invalid, `bad format for add-host: "a"`},
		{host(container.HostConfig{Annotations: map[string]string{GroupAddAnnotation: "root"}}), notYet, "bothy"},
		{host(container.HostConfig{StorageOpt: map[string]string{"odd": "1"}}), invalid, "unknown option odd"},
		{host(container.HostConfig{AutoRemove: true, RestartPolicy: container.RestartPolicy{Name: "always"}}), invalid, "can't create 'AutoRemove' container"},
		{host(container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "odd"}}), invalid, "invalid restart policy"},
		{res(container.Resources{Memory: 1 << 20}), invalid, "Minimum memory limit allowed is 6MB"},
		{res(container.Resources{Memory: -1}), invalid, "Minimum memory limit"},
		{res(container.Resources{MemorySwap: 1 << 30}), invalid, "You should always set the Memory limit"},
		{res(container.Resources{Memory: 1 << 30, MemorySwap: 1 << 29}), invalid, "Minimum memoryswap limit"},
		{res(container.Resources{Memory: 8 << 20, MemoryReservation: 16 << 20}), invalid, "reservation"},
		{res(container.Resources{NanoCPUs: -1}), invalid, "range of CPUs"},
		{res(container.Resources{NanoCPUs: 1e9, CPUQuota: 1000}), invalid, "Conflicting options: Nano CPUs and CPU Quota"},
		{res(container.Resources{CPUPeriod: 1}), invalid, "CPU cfs period"},
		{res(container.Resources{CpusetCpus: "3-1"}), invalid, "cpuset cpus"},
		{res(container.Resources{BlkioWeight: 5}), invalid, "range of blkio weight"},
		{res(container.Resources{Ulimits: []*container.Ulimit{{Name: "odd"}}}), invalid, "invalid ulimit type: odd"},
		{res(container.Resources{Ulimits: []*container.Ulimit{{Name: "nofile", Soft: 2, Hard: 1}}}), invalid, "soft limit must be less"},
		{res(container.Resources{Devices: []container.DeviceMapping{{PathOnHost: "sda"}}}), invalid, "must be absolute"},
		{res(container.Resources{Devices: []container.DeviceMapping{{PathOnHost: "/dev/sda", CgroupPermissions: "x"}}}), invalid, "device mode"},
		{res(container.Resources{DeviceCgroupRules: []string{"x"}}), invalid, "invalid device cgroup rule format: 'x'"},
	} {
		err := Refuse(Process, tc.req.cfg, tc.req.hc, nil)
		if !tc.is(err) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("want %q, got %v", tc.text, err)
		}
	}
}

// TestRefusalsSayWhatToDo: one sentence, with a reason, and no two alike.
func TestRefusalsSayWhatToDo(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range Refusals() {
		text := fmt.Sprint(r.err())
		if r.Option == "" || r.Reason == "" || strings.HasSuffix(text, ".") || (seen[text] && r.Option != "--link") {
			t.Errorf("%q", text)
		}
		seen[text] = true
	}
}

func TestRefuseEndpoint(t *testing.T) {
	t.Parallel()
	with := func(mode container.NetworkMode, name string, e *network.EndpointSettings) error {
		return Refuse(Process, &container.Config{}, &container.HostConfig{NetworkMode: mode}, &network.NetworkingConfig{
			EndpointsConfig: map[string]*network.EndpointSettings{name: e},
		})
	}
	if err := with("bridge", "default", &network.EndpointSettings{MacAddress: network.HardwareAddr{2, 0, 0, 0, 0, 1}}); err != nil {
		t.Error(err)
	}
	if err := with("bridge", "bridge", nil); err != nil {
		t.Error(err)
	}
	if err := with("none", "none", &network.EndpointSettings{MacAddress: network.HardwareAddr{2, 0, 0, 0, 0, 1}}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	if err := with("", "bridge", &network.EndpointSettings{MacAddress: network.HardwareAddr{1, 0, 0, 0, 0, 1}}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	if err := with("none", "bridge", nil); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	if err := with("bridge", "mine", nil); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

// TestRefusalsAreDocumented: the table is the documentation.
func TestRefusalsAreDocumented(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	b.WriteString("# What is refused\n\nNothing that you ask for is ignored silently. What a home cannot do, or bothy cannot yet, is refused when the container is created.\n\n")
	b.WriteString("| option | home | why, and what to do instead |\n|---|---|---|\n")
	for _, r := range Refusals() {
		fmt.Fprintln(&b, r)
	}
	golden(t, filepath.Join("..", "..", "..", "docs", "refused.md"), b.Bytes())
}
