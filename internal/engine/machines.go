package engine

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"bothy/internal/engineapi"
	"bothy/internal/vm/accel"
	"bothy/internal/vm/initramfs"
	"bothy/internal/vm/kernel"
)

const (
	// bootTimeout bounds a machine's way to its first word: generous, because
	// without KVM and on a busy host a boot takes ten times as long.
	bootTimeout = 60 * time.Second
	// machineUsers is the first of the user ids that QEMU runs as: each machine
	// has its own, from 28 bits of its container's ID.
	machineUsers = 0x70000000
)

// machines prepares what virtual machines are made of. Finding out what the
// host can do takes a while, so it is done once, ahead of the first machine.
type machines struct {
	opts     Options
	cacheDir string
	// hostMemory is the host's memory in bytes.
	hostMemory int64
	log        *slog.Logger
	templates  *templates // nil: there are to be none
	practice   *practice  // nil: likewise

	mu         sync.Mutex
	found      *machineParts // nil until looked for successfully
	why        error         // of the last look that failed
	shapeKnown hostShape     // see shape
}

// machineParts is what all machines of a host have in common.
type machineParts struct {
	kernel    kernel.Kernel
	image     string // of the kernel: what is booted
	accel     accel.Result
	initramfs string
	maxMemory int64 // bytes: what one can grow to while it runs
}

func newMachines(opts Options) *machines {
	return &machines{opts: opts, cacheDir: filepath.Join(opts.DataRoot, "vm"), hostMemory: hostMemory(), log: opts.Log}
}

// parts finds kernel, accelerator and initramfs. What was found is remembered,
// a failure is not: the user may have installed what was missing.
func (m *machines) parts(ctx context.Context) (machineParts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.found != nil {
		// The cache knows whether the file is still good, at no cost.
		path, err := initramfs.Cached(ctx, m.cacheDir, m.found.kernel, m.opts.Shim)
		if err == nil {
			m.found.initramfs = path
			m.refreshImage(ctx, m.found)
			return *m.found, nil
		}
	}
	m.found = nil
	parts, err := m.look(ctx)
	if m.why = err; err != nil {
		return parts, err
	}
	m.found = &parts
	return parts, nil
}

func (m *machines) look(ctx context.Context) (machineParts, error) {
	var p machineParts
	var err error
	vm := m.opts.VM
	if p.kernel, err = kernel.Find(kernel.Options{Image: vm.Kernel, Roots: vm.KernelRoots}); err != nil {
		return p, err
	}
	if err := os.MkdirAll(m.cacheDir, 0o711); err != nil {
		return p, fmt.Errorf("preparing virtual machines: %w", err)
	}
	p.accel, err = accel.Probe(ctx, accel.Options{QEMU: vm.QEMU, Kernel: p.kernel, CacheFile: filepath.Join(m.cacheDir, "accel.json")})
	if err != nil {
		return p, err
	}
	if vm.Accel != "" && vm.Accel != p.accel.Accel {
		p.accel.Accel, p.accel.Reason = vm.Accel, "configured"
	}
	if p.initramfs, err = initramfs.Cached(ctx, m.cacheDir, p.kernel, m.opts.Shim); err != nil {
		return p, err
	}
	p.image, p.maxMemory = m.image(ctx, p), m.maxMemory()
	return p, nil
}

// image gives what boots the kernel the fastest: under emulation that is an
// uncompressed copy, where the kernel allows one, and else the kernel's own
// image.
func (m *machines) image(ctx context.Context, p machineParts) string {
	if p.accel.Accel != "tcg" {
		return p.kernel.Image
	}
	path, err := kernel.Uncompressed(ctx, m.cacheDir, p.kernel)
	if err != nil {
		m.log.Warn("virtual machines unpack their kernel themselves, which takes longer", "reason", err)
		return p.kernel.Image
	}
	return path
}

// refreshImage makes the uncompressed copy anew if it is gone or the kernel has
// changed. Where there was none, there is none: the reason is in the log.
func (m *machines) refreshImage(ctx context.Context, p *machineParts) {
	if p.image != p.kernel.Image {
		p.image = m.image(ctx, *p)
	}
}

// peek gives what is known already; ok is false while nothing is.
func (m *machines) peek() (p machineParts, ok bool) {
	if !m.mu.TryLock() {
		return p, false
	}
	defer m.mu.Unlock()
	if m.found == nil {
		return p, false
	}
	return *m.found, true
}

// missing says why there are no machines, or that it is not known yet.
func (m *machines) missing() string {
	if !m.mu.TryLock() {
		return "being probed"
	}
	defer m.mu.Unlock()
	if m.why != nil {
		return engineapi.Sentence(m.why)
	}
	return "being probed"
}

// machineUser gives the user and group id that a container's QEMU runs as.
func machineUser(id string) uint32 {
	bits, err := strconv.ParseUint(id[:7], 16, 32)
	if err != nil { // IDs are hexadecimal
		return machineUsers
	}
	return machineUsers | uint32(bits)
}

// lookAhead finds what machines need before the first of them is asked for.
func (m *machines) lookAhead(ctx context.Context) {
	p, err := m.parts(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		m.log.Info("no virtual machines can be started", "reason", err)
	default:
		m.log.Info("virtual machines", "accelerator", p.accel.String(), "kernel", p.kernel.Version, "qemu", p.accel.QEMU)
		m.takeUpTemplates(ctx, p)
	}
}
