package spec

import (
	"math"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func process(in Input, s *specs.Spec) error {
	cfg, hc := in.Config, in.HostConfig
	caps, err := Capabilities(hc, in.Capabilities)
	if err != nil {
		return err
	}
	limits, err := rlimits(hc.Ulimits)
	if err != nil {
		return err
	}
	if in.Home == VM {
		limits = machineLimits(limits)
	}
	oomScoreAdj := hc.OomScoreAdj
	s.Process = &specs.Process{
		Terminal:     cfg.Tty,
		User:         specs.User{Username: cfg.User},
		Args:         slices.Concat(cfg.Entrypoint, cfg.Cmd),
		Env:          Environment(in.Hostname, cfg),
		Cwd:          WorkingDir(cfg.WorkingDir),
		Capabilities: ProcessCapabilities(caps),
		Rlimits:      limits,
		OOMScoreAdj:  &oomScoreAdj,
	}
	if len(s.Process.Args) == 0 {
		return invalidf("no command specified")
	}
	if cfg.Tty && (hc.ConsoleSize[0] != 0 || hc.ConsoleSize[1] != 0) {
		s.Process.ConsoleSize = &specs.Box{Height: hc.ConsoleSize[0], Width: hc.ConsoleSize[1]}
	}
	return nil
}

// WorkingDir is where a process starts: "/" if the settings name no directory.
func WorkingDir(dir string) string {
	if dir == "" {
		return "/"
	}
	return dir
}

// Environment is a process's environment: docker's own variables, then those
// of cfg, which replace them. A variable of cfg without "=" is taken away.
func Environment(hostname string, cfg *container.Config) []string {
	env := []string{"PATH=" + defaultPath, "HOSTNAME=" + hostname}
	if cfg.Tty {
		env = append(env, "TERM=xterm")
	}
	return ReplaceEnv(env, cfg.Env)
}

// ReplaceEnv returns base with the variables of over set in place, appended
// where base has none of the name, and removed where they carry no "=".
func ReplaceEnv(base, over []string) []string {
	env := slices.Clone(base)
	for _, kv := range over {
		key, _, set := strings.Cut(kv, "=")
		at := slices.IndexFunc(env, func(have string) bool { return strings.HasPrefix(have, key+"=") })
		switch {
		case !set && at >= 0:
			env = slices.Delete(env, at, at+1)
		case !set:
		case at >= 0:
			env[at] = kv
		default:
			env = append(env, kv)
		}
	}
	return env
}

func rlimits(ulimits []*container.Ulimit) ([]specs.POSIXRlimit, error) {
	var limits []specs.POSIXRlimit
	for _, u := range ulimits {
		if err := checkUlimit(u); err != nil {
			return nil, err
		}
		limits = append(limits, specs.POSIXRlimit{
			Type: "RLIMIT_" + strings.ToUpper(u.Name),
			Soft: rlimitValue(u.Soft),
			Hard: rlimitValue(u.Hard),
		})
	}
	return limits, nil
}

// machineLimits are the limits of processes in a machine, where no service
// manager has raised the kernel's: what docker's packages give their engine,
// whose containers inherit it. Settings of the same name win.
func machineLimits(set []specs.POSIXRlimit) []specs.POSIXRlimit {
	for _, limit := range []specs.POSIXRlimit{
		{Type: "RLIMIT_CORE", Soft: math.MaxUint64, Hard: math.MaxUint64},
		{Type: "RLIMIT_NOFILE", Soft: 1 << 20, Hard: 1 << 20},
		{Type: "RLIMIT_NPROC", Soft: math.MaxUint64, Hard: math.MaxUint64},
	} {
		if !slices.ContainsFunc(set, func(l specs.POSIXRlimit) bool { return l.Type == limit.Type }) {
			set = append(set, limit)
		}
	}
	return set
}

// rlimitValue: -1 is RLIM_INFINITY.
func rlimitValue(n int64) uint64 {
	if n == -1 {
		return math.MaxUint64
	}
	return uint64(n)
}

func checkUlimit(u *container.Ulimit) error {
	if u == nil {
		return invalidf("invalid ulimit: no name")
	}
	if _, err := u.GetRlimit(); err != nil {
		return invalidf("invalid ulimit type: %s", u.Name)
	}
	if u.Soft < -1 || u.Hard < -1 {
		return invalidf("invalid ulimit %s: a limit cannot be negative (-1: unlimited)", u)
	}
	if rlimitValue(u.Soft) > rlimitValue(u.Hard) {
		return invalidf("ulimit soft limit must be less than or equal to hard limit: %s", u)
	}
	return nil
}
