package spec

import (
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// seccompFilter sets the filter that --security-opt asks for: by default
// docker's profile, for a privileged container none.
func seccompFilter(in Input, s *specs.Spec) error {
	opts, err := parseSecurityOpts(in.HostConfig.SecurityOpt)
	if err != nil {
		return err
	}
	profile := seccomp.DefaultProfile()
	switch {
	case opts.seccomp == "unconfined", opts.seccomp == "" && in.HostConfig.Privileged:
		return nil
	case opts.seccomp != "" && opts.seccomp != "builtin":
		if profile, err = parseProfile(opts.seccomp); err != nil {
			return err
		}
	}
	host := seccompHost{arch: runtime.GOARCH, kernel: in.Kernel, caps: s.Process.Capabilities.Bounding}
	s.Linux.Seccomp, err = host.resolve(profile)
	return err
}

// parseProfile reads a profile in docker's JSON.
func parseProfile(text string) (*seccomp.Seccomp, error) {
	var profile seccomp.Seccomp
	if err := json.Unmarshal([]byte(text), &profile); err != nil {
		return nil, invalidf("decoding seccomp profile: %v", err)
	}
	if len(profile.Architectures) != 0 && len(profile.ArchMap) != 0 {
		return nil, invalidf("seccomp profile: use either 'architectures' or 'archMap'")
	}
	for _, call := range profile.Syscalls {
		if call == nil || (oldName(call) != "" && len(call.Names) != 0) {
			return nil, invalidf("seccomp profile: each of 'syscalls' has either 'name' or 'names'")
		}
	}
	return &profile, nil
}

// oldName is how profiles for old dockers name their one syscall.
func oldName(call *seccomp.Syscall) string {
	//lint:ignore SA1019 such profiles are still around
	return call.Name
}

// seccompHost is what the conditions of a profile are held against. The
// profile's own library asks the kernel that it runs on, which is the wrong
// one for a virtual machine.
type seccompHost struct {
	arch   string // a GOARCH
	kernel string // a release, "": newer than any
	caps   []string
}

// resolve turns a profile with conditions into a filter; a profile that says
// nothing gives none.
func (h seccompHost) resolve(profile *seccomp.Seccomp) (*specs.LinuxSeccomp, error) {
	if profile.DefaultAction == "" && len(profile.Syscalls) == 0 {
		return nil, nil
	}
	filter := profile.LinuxSeccomp
	filter.Architectures = slices.Clone(filter.Architectures)
	filter.Syscalls = nil
	for _, m := range profile.ArchMap {
		if m.Arch == h.nativeArch() {
			filter.Architectures = append(append(filter.Architectures, m.Arch), m.SubArches...)
		}
	}
	for _, call := range profile.Syscalls {
		applies, err := h.applies(call)
		if err != nil {
			return nil, err
		}
		if !applies {
			continue
		}
		rule := call.LinuxSyscall
		if name := oldName(call); name != "" {
			rule.Names = []string{name}
		}
		filter.Syscalls = append(filter.Syscalls, rule)
	}
	return &filter, nil
}

func (h seccompHost) nativeArch() specs.Arch {
	return map[string]specs.Arch{
		"amd64": specs.ArchX86_64, "386": specs.ArchX86, "arm": specs.ArchARM, "arm64": specs.ArchAARCH64,
		"riscv64": specs.ArchRISCV64, "s390x": specs.ArchS390X, "ppc64le": specs.ArchPPC64LE, "loong64": specs.ArchLOONGARCH64,
	}[h.arch]
}

// applies holds a rule's conditions against the host: all that it includes
// must be there, nothing that it excludes may be.
func (h seccompHost) applies(call *seccomp.Syscall) (bool, error) {
	if ex := call.Excludes; ex != nil {
		newEnough, err := h.atLeast(ex.MinKernel)
		if err != nil {
			return false, err
		}
		if h.hasArch(ex.Arches) || slices.ContainsFunc(ex.Caps, h.hasCap) || (ex.MinKernel != nil && newEnough) {
			return false, nil
		}
	}
	if inc := call.Includes; inc != nil {
		newEnough, err := h.atLeast(inc.MinKernel)
		if err != nil {
			return false, err
		}
		if len(inc.Arches) > 0 && !h.hasArch(inc.Arches) {
			return false, nil
		}
		lacks := func(c string) bool { return !h.hasCap(c) }
		return newEnough && !slices.ContainsFunc(inc.Caps, lacks), nil
	}
	return true, nil
}

func (h seccompHost) hasCap(c string) bool { return slices.Contains(h.caps, c) }

// hasArch compares with libseccomp's names, which are Go's but for a few.
func (h seccompHost) hasArch(list []string) bool {
	name := h.arch
	switch name {
	case "386":
		name = "x86"
	case "loong64":
		name = "loongarch64"
	}
	return slices.Contains(list, name)
}

// atLeast says whether the kernel is as new as min; nil is always reached.
func (h seccompHost) atLeast(min *seccomp.KernelVersion) (bool, error) {
	if min == nil || h.kernel == "" {
		return true, nil
	}
	version, revision, err := parseKernel(h.kernel)
	if err != nil {
		return false, err
	}
	return version > min.Kernel || (version == min.Kernel && revision >= min.Major), nil
}

// parseKernel reads the first two numbers of a release: "6.1.0-56-cloud-amd64".
func parseKernel(release string) (version, revision uint64, err error) {
	first, rest, _ := strings.Cut(release, ".")
	second := rest
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		second = rest[:end]
	}
	version, err1 := strconv.ParseUint(first, 10, 32)
	revision, err2 := strconv.ParseUint(second, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, invalidf("reading the kernel release %q", release)
	}
	return version, revision, nil
}
