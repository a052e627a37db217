package spec

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Devices looks up device nodes where the container will run.
type Devices interface {
	// Device describes one node. A path that is none is ErrInvalidArgument,
	// one that is not there ErrNotFound.
	Device(path string) (specs.LinuxDevice, error)
	// Below lists the nodes in a directory and its subdirectories, those for
	// terminals, shared memory and message queues left out.
	Below(dir string) ([]specs.LinuxDevice, error)
	// IsDir says whether the path is a directory.
	IsDir(path string) bool
}

// devices adds --device and --device-cgroup-rule to docker's own rules.
func devices(in Input, s *specs.Spec) error {
	if in.HostConfig.Privileged {
		s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		if in.Home == VM {
			return nil // AllDevicesAnnotation
		}
		all, err := in.Devices.Below("/dev")
		s.Linux.Devices = all
		return err
	}
	rules := defaultDeviceRules()
	for _, m := range in.HostConfig.Devices {
		nodes, err := mapDevice(in, m)
		if err != nil {
			return fmt.Errorf("--device %s: %w", m.PathOnHost, err)
		}
		for _, d := range nodes {
			major, minor := d.Major, d.Minor
			rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &major, Minor: &minor, Access: devicePermissions(m)})
		}
		s.Linux.Devices = append(s.Linux.Devices, nodes...)
	}
	for _, text := range in.HostConfig.DeviceCgroupRules {
		rule, err := parseDeviceRule(text)
		if err != nil {
			return err
		}
		rules = append(rules, rule)
	}
	s.Linux.Resources.Devices = rules
	return nil
}

// defaultDeviceRules are docker's: nothing but zero, null, urandom, random,
// tty, console; what else a container needs (terminals, mknod) the executor adds.
func defaultDeviceRules() []specs.LinuxDeviceCgroup {
	rule := func(allow bool, major, minor int64) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: allow, Type: "c", Major: &major, Minor: &minor, Access: "rwm"}
	}
	return []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		rule(true, 1, 5), rule(true, 1, 3), rule(true, 1, 9), rule(true, 1, 8), rule(true, 5, 0), rule(true, 5, 1),
		rule(false, 10, 229),
	}
}

// guestDevice has the numbers of the devices that every guest's kernel has built
// in, by path.
func guestDevice(path string) (specs.LinuxDevice, bool) {
	numbers := map[string][2]int64{
		"/dev/null": {1, 3}, "/dev/zero": {1, 5}, "/dev/full": {1, 7}, "/dev/random": {1, 8}, "/dev/urandom": {1, 9},
		"/dev/tty": {5, 0},
	}
	n, ok := numbers[path]
	d := specs.LinuxDevice{Path: path, Type: "c", Major: n[0], Minor: n[1]}
	fileMode := defaultDeviceMode
	d.FileMode = &fileMode
	return d, ok
}

func mapDevice(in Input, m container.DeviceMapping) ([]specs.LinuxDevice, error) {
	target := m.PathInContainer
	if target == "" {
		target = m.PathOnHost
	}
	if in.Home == VM {
		d, ok := guestDevice(path.Clean(m.PathOnHost))
		if !ok {
			return nil, notYetf("a virtual machine has no such device")
		}
		d.Path = target
		return []specs.LinuxDevice{d}, nil
	}
	if !in.Devices.IsDir(m.PathOnHost) {
		d, err := in.Devices.Device(m.PathOnHost)
		d.Path = target
		return []specs.LinuxDevice{d}, err
	}
	nodes, err := in.Devices.Below(m.PathOnHost)
	if err == nil && len(nodes) == 0 {
		err = invalidf("no device nodes below it")
	}
	for i := range nodes {
		nodes[i].Path = path.Join(target, strings.TrimPrefix(nodes[i].Path, path.Clean(m.PathOnHost)))
	}
	return nodes, err
}

func devicePermissions(m container.DeviceMapping) string {
	if m.CgroupPermissions == "" {
		return "rwm"
	}
	return m.CgroupPermissions
}

func checkDevice(m container.DeviceMapping) error {
	if !path.IsAbs(m.PathOnHost) || (m.PathInContainer != "" && !path.IsAbs(m.PathInContainer)) {
		return invalidf("--device %q: a device's path must be absolute", m.PathOnHost)
	}
	if strings.Trim(devicePermissions(m), "rwm") != "" {
		return invalidf("--device %s: invalid device mode %q, use some of r, w, m", m.PathOnHost, m.CgroupPermissions)
	}
	return nil
}

// parseDeviceRule reads --device-cgroup-rule: "c 13:* rwm".
func parseDeviceRule(text string) (specs.LinuxDeviceCgroup, error) {
	form := regexp.MustCompile(`^([acb]) ([0-9]{1,9}|\*):([0-9]{1,9}|\*) ([rwm]{1,3})$`)
	parts := form.FindStringSubmatch(text)
	if parts == nil {
		return specs.LinuxDeviceCgroup{}, invalidf("invalid device cgroup rule format: '%s', write it like 'c 13:* rwm'", text)
	}
	return specs.LinuxDeviceCgroup{
		Allow: true, Type: parts[1], Major: deviceNumber(parts[2]), Minor: deviceNumber(parts[3]), Access: parts[4],
	}, nil
}

// deviceNumber: "*" is -1, which stands for all.
func deviceNumber(text string) *int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		n = -1
	}
	return &n
}
