// Package accel finds out whether virtual machines here can run on KVM, or
// have to be emulated (QEMU's TCG).
//
// That /dev/kvm opens, answers, and even creates a machine does not mean that
// a stock kernel runs on it: nested virtualisation can be there and broken. So
// the probe boots the real guest kernel, with a PID 1 of a few dozen bytes, and
// believes in KVM when that has spoken. The answer is remembered in a file
// until the kernel, QEMU or the host change.
//
// It knows nothing of containers, and nothing of how machines are run later.
package accel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"bothy/internal/vm/kernel"
)

// The accelerators, as QEMU names them.
const (
	KVM = "kvm"
	TCG = "tcg"
)

// DefaultQEMU is the program that is looked up in PATH where none is named.
const DefaultQEMU = "qemu-system-x86_64"

// Options say what to probe.
type Options struct {
	// QEMU is the system emulator's path or name. Empty: DefaultQEMU.
	QEMU string
	// Kernel is what machines will boot.
	Kernel kernel.Kernel
	// CacheFile is where the answer is remembered, an absolute path. Empty:
	// nowhere.
	CacheFile string
}

// Result is what machines are to use.
type Result struct {
	QEMU   string // absolute path
	Accel  string // KVM or TCG
	Reason string // why it is not KVM: one clause, "" if it is
}

// String is "kvm" or "tcg (reason)".
func (r Result) String() string {
	if r.Reason == "" {
		return r.Accel
	}
	return fmt.Sprintf("%s (%s)", r.Accel, r.Reason)
}

// Probe returns the accelerator that works. It takes no time when the answer
// is remembered or /dev/kvm cannot be opened, and 10 s at most otherwise; no
// process is left when it returns. It fails with an error of the kind
// errdefs.ErrUnavailable where there is no QEMU.
func Probe(ctx context.Context, opts Options) (Result, error) {
	return prober{device: "/dev/kvm", timeout: 10 * time.Second}.probe(ctx, opts)
}

// prober has what tests replace.
type prober struct {
	device  string
	timeout time.Duration
}

func (p prober) probe(ctx context.Context, opts Options) (Result, error) {
	qemu, err := findQEMU(opts.QEMU)
	if err != nil {
		return Result{}, err
	}
	if reason := tryDevice(p.device); reason != "" {
		return Result{QEMU: qemu, Accel: TCG, Reason: reason}, nil
	}
	key, err := identify(qemu, opts.Kernel, p.device)
	if err != nil {
		return Result{}, fmt.Errorf("probing the accelerator: %w", err)
	}
	if r, ok := recall(opts.CacheFile, key); ok {
		r.QEMU = qemu
		return r, nil
	}
	r := Result{QEMU: qemu, Accel: KVM}
	r.Reason, err = p.boot(ctx, qemu, opts.Kernel.Image, KVM)
	if err != nil {
		return Result{}, fmt.Errorf("probing the accelerator: %w", err)
	}
	if r.Reason != "" {
		r.Accel = TCG
		r.Reason = "KVM opens, but " + r.Reason
	}
	if err := remember(opts.CacheFile, key, r); err != nil {
		return Result{}, fmt.Errorf("remembering the accelerator: %w", err)
	}
	return r, nil
}

// findQEMU returns the absolute path of the emulator.
func findQEMU(name string) (string, error) {
	if name == "" {
		name = DefaultQEMU
	}
	path, err := exec.LookPath(name)
	if err != nil {
		// The cause is not quoted: "no such file or directory" would make docker's
		// CLI blame the container's command.
		return "", fmt.Errorf("there is no QEMU at %s that can be run: install it (Debian: apt-get install qemu-system-x86) or name it with --vm-qemu: %w", name, errdefs.ErrUnavailable)
	}
	return path, nil
}

// tryDevice returns why the KVM device cannot be used at all, or "".
func tryDevice(path string) string {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		err = &os.PathError{Op: "open", Path: path, Err: err}
		if errors.Is(err, os.ErrNotExist) {
			return path + " is missing"
		}
		return err.Error()
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err.Error()
	}
	if !forMachines(&st) {
		return fmt.Sprintf("%s is for root alone and QEMU does not run as root: chgrp kvm %s; chmod 0660 %s", path, path, path)
	}
	return ""
}

// forMachines says whether a machine's QEMU may open a device: it runs as a user
// of its own, and in the device's group unless that is root's.
func forMachines(st *unix.Stat_t) bool {
	const others, group = 0o006, 0o060
	return st.Mode&others == others || st.Mode&group == group && st.Gid != 0
}
