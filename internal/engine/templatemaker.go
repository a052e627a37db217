package engine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bothy/internal/network"
	"bothy/internal/vm"
	"bothy/internal/vm/ext4"
)

const (
	// makingDir, below the exec root, has the console of the template that is, or
	// was last, being made.
	makingDir = "template"
	// makingNice is the niceness of a machine that becomes a template: those that
	// somebody waits for go first.
	makingNice = 10
	// makingTimeout bounds the making of a template, which gives way to all else.
	makingTimeout = 5 * time.Minute
	// filterTimeout bounds the compilation of a seccomp filter.
	filterTimeout = 10 * time.Second
)

// vmTemplates makes templates in virtual machines.
type vmTemplates struct {
	opts     Options
	practice *practice
}

func (v *vmTemplates) makeTemplate(ctx context.Context, job templateJob, disk string) (*vm.Template, error) {
	dir := filepath.Join(v.opts.ExecRoot, makingDir)
	if err := os.MkdirAll(dir, 0o710); err != nil {
		return nil, fmt.Errorf("making a template: %w", err)
	}
	rehearsal, err := v.rehearsal(ctx)
	if err != nil {
		return nil, err
	}
	if err := ext4.Create(disk, job.shape.Disk); err != nil {
		return nil, diskError(err)
	}
	machine := job.machine
	machine.UID = machineUser(job.shape.Digest().Encoded())
	machine.GID, machine.BootTimeout = machine.UID, makingTimeout
	tap, err := network.MakeLoneTap(machine.UID)
	if err != nil {
		return nil, err
	}
	defer tap.Close()
	return vm.MakeTemplate(ctx, vm.TemplateConfig{Dir: dir, Machine: machine, Disk: disk, Practice: rehearsal, Tap: tap, Started: yield})
}

// rehearsal is the practice container with its compiled filter.
func (v *vmTemplates) rehearsal(ctx context.Context) (vm.Practice, error) {
	p, err := v.practice.files(ctx)
	if err != nil {
		return vm.Practice{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, filterTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, v.opts.Shim, "filter", "-bundle", p.Bundle, "-filters", filtersDir(v.opts))
	var said strings.Builder
	cmd.Stderr, cmd.WaitDelay = &said, time.Second
	filter, err := cmd.Output()
	if err != nil {
		return vm.Practice{}, fmt.Errorf("compiling the filter of the practice container: %w: %.200s", err, strings.TrimSpace(said.String()))
	}
	return vm.Practice{Image: p.Image, Bundle: p.Bundle, Filter: filter}, nil
}

// yield lets a QEMU give way to others. All of its threads are still to come.
func yield(pid int) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, pid, makingNice); err != nil {
		return fmt.Errorf("setting QEMU's priority: %w", err)
	}
	return nil
}

// filtersDir is where compiled seccomp filters are kept for all containers.
func filtersDir(opts Options) string { return filepath.Join(opts.ExecRoot, "filters") }
