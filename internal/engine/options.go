package engine

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"bothy/internal/network"
	"bothy/internal/spec"
)

// shimProgram is the name of the shim's program file.
const shimProgram = "containerd-shim-bothy-v2"

// Options configure an engine. Paths are absolute; sizes are bytes.
type Options struct {
	DataRoot string // what outlives a reboot; "": /var/lib/bothy
	ExecRoot string // what does not; "": /run/bothy

	// Shim is the path of the shim program; "": beside this program, then on PATH.
	Shim string
	// Isolation is the home of containers that name none; "": process.
	Isolation container.Isolation

	// CgroupParent is the cgroup below which the containers get theirs; "": /bothy.
	CgroupParent string

	Network network.Options
	VM      VMOptions

	// RegistryConfig are directories in containerd's certs.d layout.
	RegistryConfig []string
	// InsecureRegistries are hosts, or networks in CIDR, reached without TLS.
	InsecureRegistries []string

	Labels []string // the host's, shown by info
	Debug  bool     // shown by info
	// LogConfig is used by containers that name no log driver; its zero value
	// is json-file without bounds.
	LogConfig container.LogConfig

	// Trace is a file that the phases of every start are written to, see package
	// trace; "": none.
	Trace string

	Log *slog.Logger // nil: slog.Default()
}

// VMOptions configure virtual machines.
type VMOptions struct {
	QEMU   string // the emulator; "": qemu-system-<arch> on PATH
	Kernel string // a kernel image; "": the newest that is found
	// KernelRoots are where kernels are looked for; empty: kernel.Find's own.
	KernelRoots []string
	Accel       string // "kvm", "tcg"; "": probed
	DiskSize    int64  // of the writable disk, which is sparse; 0: 10 GB
	Memory      int64  // of one whose container has no limit; 0: 2 GiB, at most half of the host's
	CPUs        int    // of each; 0: the host's
	Templates   bool   // machines go on from templates, which are made when first needed
	OwnMemory   bool   // each has a copy of its template's memory
	Pool        int    // how many of each size in use wait for the next container; PoolAuto: as memory allows
}

// withDefaults fills in what is not set and finds the shim program.
func (o Options) withDefaults() (Options, error) {
	o.DataRoot = cmp.Or(o.DataRoot, "/var/lib/bothy")
	o.ExecRoot = cmp.Or(o.ExecRoot, "/run/bothy")
	if !filepath.IsAbs(o.DataRoot) || !filepath.IsAbs(o.ExecRoot) {
		return o, fmt.Errorf("opening the engine: data root %q and exec root %q must be absolute paths: %w", o.DataRoot, o.ExecRoot, errdefs.ErrInvalidArgument)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	home, err := spec.ParseHome(o.Isolation, spec.Process)
	if err != nil {
		return o, fmt.Errorf("opening the engine: %w", err)
	}
	o.Isolation = container.Isolation(home)
	o.LogConfig.Type = cmp.Or(o.LogConfig.Type, "json-file")
	if _, err := spec.ParseLog(o.LogConfig); err != nil {
		return o, fmt.Errorf("opening the engine: %w", err)
	}
	o.CgroupParent = cmp.Or(o.CgroupParent, "/bothy")
	o.VM.DiskSize = cmp.Or(o.VM.DiskSize, 10_000_000_000)
	o.VM.CPUs = cmp.Or(o.VM.CPUs, runtime.NumCPU())
	o.VM.Memory = cmp.Or(o.VM.Memory, min(2<<30, hostMemory()/2))
	o.Shim, err = findShim(o.Shim)
	return o, err
}

// findShim gives the shim program's path.
func findShim(named string) (string, error) {
	if named != "" {
		if _, err := os.Stat(named); err != nil {
			return "", fmt.Errorf("opening the engine: the shim program: %w", err)
		}
		return filepath.Abs(named)
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), shimProgram)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(shimProgram)
	if errors.Is(err, exec.ErrDot) {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("opening the engine: the program %s is neither beside bothyd nor on PATH: install it there: %w", shimProgram, errdefs.ErrUnavailable)
	}
	return filepath.Abs(path)
}
