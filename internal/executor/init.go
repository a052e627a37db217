package executor

import (
	"context"
	"encoding/json"
	"os"

	_ "github.com/opencontainers/cgroups/devices" // lets libcontainer set device rules
	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // enters the namespaces before Go's runtime starts
	"github.com/opencontainers/runtime-spec/specs-go"

	"bothy/internal/executor/filter"
	"bothy/internal/executor/sealed"
)

// IsInit says whether this process is the first step of a container: the
// program that serves the executor, executed again by libcontainer. Main asks
// before it does anything else, and calls Init if so.
func IsInit() bool {
	return len(os.Args) == 2 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_INITTYPE") != ""
}

// Init becomes the container's process. It doesn't return.
func Init() {
	filter.Adopt()
	libcontainer.Init()
}

// IsCompiler says whether this process is one that compiles a filter for
// Filter. Main asks like IsInit, and calls Compile if so.
func IsCompiler() bool { return filter.IsCompiler() }

// Compile compiles a filter, and is the last that the process does.
func Compile() error { return filter.Compile() }

// Filter returns the compiled filter of the seccomp profile in the JSON of a
// runtime spec, for the GuestOptions of another machine, nil if it has none. It
// is kept in dir, see Options.Filters.
func Filter(ctx context.Context, dir string, spec []byte) ([]byte, error) {
	var s struct {
		Linux struct {
			Seccomp *specs.LinuxSeccomp `json:"seccomp"`
		} `json:"linux"`
	}
	if err := json.Unmarshal(spec, &s); err != nil || s.Linux.Seccomp == nil {
		return nil, err
	}
	cache, err := filter.New(dir)
	if err != nil {
		return nil, err
	}
	return cache.Compiled(ctx, s.Linux.Seccomp)
}

// AddFilter keeps what Filter returned elsewhere, for containers with this
// profile.
func (s *Service) AddFilter(profile *specs.LinuxSeccomp, compiled []byte) error {
	if s.filters == nil || profile == nil || len(compiled) == 0 {
		return nil
	}
	return s.filters.Add(profile, compiled)
}

// SealedSelf returns the running program as a sealed memory file, see package
// sealed. A program that runs from such a file starts containers without
// libcontainer's protective copy of itself. The caller closes it.
func SealedSelf() (*os.File, error) {
	return sealed.File("/proc/self/exe")
}
