package spec

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/sys/signal"
)

// validate finds nonsense, with docker's words where clients match them.
func validate(r request) error {
	checks := []func(request) error{
		validateConfig, validateModes, validateNetworking, validateHosts, validateMounts, validateLog, validateRest,
	}
	for _, check := range checks {
		if err := check(r); err != nil {
			return err
		}
	}
	return validateResources(&r.hc.Resources)
}

const maxHostname = 64 // the kernel's __NEW_UTS_LEN

func validateConfig(r request) error {
	cfg := r.cfg
	if cfg.WorkingDir != "" && !path.IsAbs(cfg.WorkingDir) {
		return invalidf("the working directory '%s' is invalid, it needs to be an absolute path", cfg.WorkingDir)
	}
	for _, kv := range cfg.Env {
		if key, _, _ := strings.Cut(kv, "="); key == "" || strings.Contains(kv, "\x00") {
			return invalidf("invalid environment variable: %s", kv)
		}
	}
	for _, arg := range slices.Concat(cfg.Entrypoint, cfg.Cmd) {
		if strings.Contains(arg, "\x00") {
			return invalidf("invalid command: an argument contains a zero byte")
		}
	}
	if len(cfg.Hostname) > maxHostname || len(cfg.Domainname) > maxHostname {
		return invalidf("invalid hostname: longer than %d characters", maxHostname)
	}
	if cfg.StopSignal != "" {
		if _, err := signal.ParseSignal(cfg.StopSignal); err != nil {
			return invalidf("%v", err)
		}
	}
	return ValidateUser(cfg.User)
}

// ValidateUser checks the form "user[:group]", each a name or a number; who
// that is, only the container's root file system says.
func ValidateUser(user string) error {
	if user == "" {
		return nil
	}
	name, group, hasGroup := strings.Cut(user, ":")
	bad := strings.ContainsFunc(user, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' })
	if bad || (name == "" && group == "") || (hasGroup && strings.Contains(group, ":")) {
		return invalidf("invalid user %q: write it as a name or a number, and if need be a group after a colon", user)
	}
	return nil
}

func validateModes(r request) error {
	hc := r.hc
	switch {
	case !hc.IpcMode.Valid():
		return invalidf("invalid IPC mode: %s", hc.IpcMode)
	case !hc.PidMode.Valid():
		return invalidf("invalid PID mode: %s", hc.PidMode)
	case !hc.UTSMode.Valid():
		return invalidf("invalid UTS mode: %s", hc.UTSMode)
	case !hc.UsernsMode.Valid():
		return invalidf("invalid userns mode: %s", hc.UsernsMode)
	case !hc.CgroupnsMode.Valid():
		return invalidf("invalid cgroup namespace mode: %s", hc.CgroupnsMode)
	case hc.UTSMode.IsHost() && r.cfg.Hostname != "":
		return invalidf("conflicting options: hostname and the UTS mode")
	case hc.AutoRemove && !hc.RestartPolicy.IsNone():
		return invalidf("can't create 'AutoRemove' container with restart policy")
	case !slices.Contains([]string{"", "bothy", "io.containerd.bothy.v2"}, hc.Runtime):
		return invalidf("unknown or invalid runtime name: %s", hc.Runtime)
	}
	if _, err := ParseHome(hc.Isolation, Process); err != nil {
		return err
	}
	if err := container.ValidateRestartPolicy(hc.RestartPolicy); err != nil {
		return invalidf("%v", err)
	}
	return nil
}

func validateHosts(r request) error {
	for _, entry := range r.hc.ExtraHosts {
		name, ip, ok := strings.Cut(strings.Replace(entry, "=", ":", 1), ":")
		if !ok || name == "" {
			return invalidf("bad format for add-host: %q", entry)
		}
		if ip == "host-gateway" {
			continue
		}
		if _, err := netip.ParseAddr(strings.Trim(ip, "[]")); err != nil {
			return invalidf("invalid IP address in add-host: %q", ip)
		}
	}
	return nil
}

// validateNetworking: the networks that there are, and endpoints only for the
// one that the container joins. An unknown one is no ErrNotFound: docker's CLI
// takes that, at creation, for a missing image.
func validateNetworking(r request) error {
	mode := networkName(string(r.hc.NetworkMode))
	known := []string{"bridge", "host", "none"}
	if !slices.Contains(known, mode) && !r.hc.NetworkMode.IsContainer() {
		return invalidf("network %s not found: there are bridge, host and none; networks of your own are not there yet", mode)
	}
	if r.networking == nil {
		return nil
	}
	for name, endpoint := range r.networking.EndpointsConfig {
		if !slices.Contains(known, networkName(name)) {
			return invalidf("network %s not found: there are bridge, host and none; networks of your own are not there yet", name)
		}
		if len(r.networking.EndpointsConfig) == 1 && networkName(name) != mode {
			return invalidf("conflicting options: the network mode is %s, and settings were given for the network %s", mode, name)
		}
		if endpoint != nil && len(endpoint.MacAddress) != 0 {
			if mode != "bridge" {
				return invalidf("conflicting options: mac-address and the network mode")
			}
			if len(endpoint.MacAddress) != 6 || endpoint.MacAddress[0]&1 != 0 {
				return invalidf("invalid MAC address %s: it must be six bytes, and not a multicast address", endpoint.MacAddress)
			}
		}
	}
	return nil
}

// networkName: "" and "default" are the bridge.
func networkName(mode string) string {
	if mode == "" || mode == "default" {
		return "bridge"
	}
	return mode
}

func validateMounts(r request) error {
	for _, m := range r.hc.Mounts {
		switch m.Type {
		case mount.TypeBind, mount.TypeTmpfs, mount.TypeVolume, mount.TypeImage:
		default:
			return invalidf("mount type unknown: %q", m.Type)
		}
	}
	if r.hc.ShmSize < 0 {
		return invalidf("SHM size can not be less than 0")
	}
	_, err := userMounts(r.hc)
	return err
}

func validateLog(r request) error {
	_, err := ParseLog(r.hc.LogConfig)
	return err
}

func validateRest(r request) error {
	hc := r.hc
	if _, err := Capabilities(hc, AllCapabilities); err != nil {
		return err
	}
	opts, err := parseSecurityOpts(hc.SecurityOpt)
	if err != nil {
		return err
	}
	if opts.seccomp != "" && opts.seccomp != "unconfined" && opts.seccomp != "builtin" {
		if _, err := parseProfile(opts.seccomp); err != nil {
			return err
		}
	}
	for _, group := range hc.GroupAdd {
		if group == "" || strings.ContainsAny(group, ",:\x00") {
			return invalidf("invalid group %q", group)
		}
	}
	if hc.OomScoreAdj < -1000 || hc.OomScoreAdj > 1000 {
		return invalidf("Invalid value %d, range for oom score adj is [-1000, 1000]", hc.OomScoreAdj)
	}
	if err := validatePaths(slices.Concat(hc.MaskedPaths, hc.ReadonlyPaths)); err != nil {
		return err
	}
	if _, err := StorageSize(hc.StorageOpt); err != nil {
		return err
	}
	return validateSysctls(hc)
}

func validatePaths(paths []string) error {
	for _, p := range paths {
		if !path.IsAbs(p) {
			return invalidf("invalid masked or read-only path %q: it must be absolute", p)
		}
	}
	return nil
}

// validateSysctls lets through what belongs to a namespace of the container's.
func validateSysctls(hc *container.HostConfig) error {
	ipc := []string{"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"}
	for key := range hc.Sysctls {
		switch {
		case strings.HasPrefix(key, "net.") && hc.NetworkMode.IsHost():
			return invalidf("sysctl '%s' cannot be set: the container uses the host's network", key)
		case (strings.HasPrefix(key, "fs.mqueue.") || slices.Contains(ipc, key)) && hc.IpcMode.IsHost():
			return invalidf("sysctl '%s' cannot be set: the container uses the host's IPC namespace", key)
		case strings.HasPrefix(key, "net."), strings.HasPrefix(key, "fs.mqueue."), slices.Contains(ipc, key), key == "kernel.domainname":
		default:
			return invalidf("sysctl '%s' is not allowed: it is not of a namespace of the container's; set it on the host", key)
		}
	}
	return nil
}
