package spec

import (
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// security sets no-new-privileges, and the masked and read-only paths.
func security(in Input, s *specs.Spec) error {
	opts, err := parseSecurityOpts(in.HostConfig.SecurityOpt)
	if err != nil {
		return err
	}
	s.Process.NoNewPrivileges = opts.noNewPrivileges
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = Paths(in.HostConfig)
	return nil
}

// defaultMaskedPaths and defaultReadonlyPaths are docker's.
func defaultMaskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

func defaultReadonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// Paths are the masked and the read-only paths that a container gets: in its
// settings nil is docker's default, an empty list none (systempaths=unconfined).
func Paths(hc *container.HostConfig) (masked, readonly []string) {
	if hc.Privileged {
		return nil, nil
	}
	masked, readonly = hc.MaskedPaths, hc.ReadonlyPaths
	if masked == nil {
		masked = defaultMaskedPaths()
	}
	if readonly == nil {
		readonly = defaultReadonlyPaths()
	}
	return masked, readonly
}

// securityOpts is --security-opt, read.
type securityOpts struct {
	noNewPrivileges bool
	// seccomp is "" (by default), "unconfined", "builtin", or a JSON profile.
	seccomp string
}

// parseSecurityOpts reads --security-opt. Confinement by AppArmor or SELinux
// is refused; to be without it is what a container is anyway.
func parseSecurityOpts(list []string) (securityOpts, error) {
	var opts securityOpts
	for _, opt := range list {
		if opt == "no-new-privileges" {
			opts.noNewPrivileges = true
			continue
		}
		key, value, ok := strings.Cut(opt, "=")
		if !ok { // docker's old separator
			key, value, ok = strings.Cut(opt, ":")
		}
		if !ok {
			return opts, invalidf("invalid --security-opt: %q", opt)
		}
		switch key {
		case "no-new-privileges":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return opts, invalidf("invalid --security-opt: %q", opt)
			}
			opts.noNewPrivileges = on
		case "seccomp":
			opts.seccomp = value
		case "apparmor", "label":
			if value == "unconfined" || value == "disable" || value == "" {
				continue
			}
			return opts, notYetf("--security-opt %s: bothy does not confine containers with AppArmor or SELinux yet; leave it out", opt)
		default:
			return opts, invalidf("invalid --security-opt: %q", opt)
		}
	}
	return opts, nil
}
