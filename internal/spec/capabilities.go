package spec

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultCapabilities are docker's, in its order.
func defaultCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

// allCapabilities are those of capabilities(7), in the kernel's order. A
// kernel that lacks the last ones makes the executor leave them out.
func allCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
		"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
		"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
		"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
		"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
		"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
	}
}

// Capabilities are a container's, after --privileged, --cap-add and
// --cap-drop. "All" of them are those of available, a mask as CapBnd in
// proc_pid_status(5) has it. An unknown name is ErrInvalidArgument.
func Capabilities(hc *container.HostConfig, available uint64) ([]string, error) {
	adds, err := normalizeCapabilities(hc.CapAdd)
	if err != nil {
		return nil, err
	}
	drops, err := normalizeCapabilities(hc.CapDrop)
	if err != nil {
		return nil, err
	}
	switch {
	case hc.Privileged:
		return capabilitiesOf(available), nil
	case slices.Contains(adds, "ALL"):
		return without(capabilitiesOf(available), drops), nil
	case slices.Contains(drops, "ALL"):
		return without(adds, nil), nil
	}
	return without(append(without(defaultCapabilities(), drops), adds...), nil), nil
}

// AllCapabilities is a mask of every capability.
const AllCapabilities = ^uint64(0)

func capabilitiesOf(mask uint64) []string {
	var caps []string
	for bit, c := range allCapabilities() {
		if mask&(1<<bit) != 0 {
			caps = append(caps, c)
		}
	}
	return caps
}

// HostCapabilities is the mask of what this process can hand on.
func HostCapabilities() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if mask, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			return strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
		}
	}
	return 0, errors.New("reading /proc/self/status: no capabilities in it")
}

// ProcessCapabilities are the sets of a container's process: bounding,
// effective and permitted, none inherited.
func ProcessCapabilities(caps []string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
}

// without gives caps less drops, each name once.
func without(caps, drops []string) []string {
	kept := []string{}
	for _, c := range caps {
		if !slices.Contains(drops, c) && !slices.Contains(kept, c) {
			kept = append(kept, c)
		}
	}
	return kept
}

// normalizeCapabilities writes names as "CAP_X" in capitals, or "ALL".
func normalizeCapabilities(names []string) ([]string, error) {
	known := allCapabilities()
	normal := make([]string, 0, len(names))
	for _, name := range names {
		c := strings.ToUpper(name)
		if c == "ALL" {
			normal = append(normal, c)
			continue
		}
		if !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		if !slices.Contains(known, c) {
			return nil, invalidf("unknown capability: %q", name)
		}
		normal = append(normal, c)
	}
	return normal, nil
}
