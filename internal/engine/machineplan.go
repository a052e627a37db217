package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"bothy/internal/engineapi"
	"bothy/internal/network"
	"bothy/internal/shimapi"
	"bothy/internal/spec"
	"bothy/internal/vm"
	"bothy/internal/vm/ext4"
	"bothy/internal/vm/template"
)

// machinePlan is what a container's machine is to be made of.
type machinePlan struct {
	parts  machineParts
	memory int64 // bytes
	cpus   int
	job    *templateJob // its template's, nil: machines are to boot
	// template is what the machine goes on from. If it is nil the machine boots,
	// and why says for what reason; "" where it is to.
	template *template.Template
	why      string
	tap      *os.File // of a machine with a template and without a network
	waited   *waited  // the machine, if it has been waiting; nil: it is to be started
}

// plan finds out what a container's machine is to be made of. The caller closes
// the plan when its shim has been started.
func (m *machines) plan(ctx context.Context, rec record) (*machinePlan, error) {
	parts, err := m.parts(ctx)
	if err != nil {
		return nil, diskError(fmt.Errorf("starting container %s in a virtual machine: %w", rec.Name, err))
	}
	p := &machinePlan{parts: parts}
	p.memory, p.cpus = m.size(rec.HostConfig.Resources)
	m.planTemplate(ctx, p)
	return p, nil
}

// planFiles is plan for a machine that only reads and writes the container's
// files: it has the smallest template, if that is there.
func (m *machines) planFiles(ctx context.Context, rec record) (*machinePlan, error) {
	parts, err := m.parts(ctx)
	if err != nil {
		return nil, diskError(err)
	}
	p := &machinePlan{parts: parts, memory: leastMachineMemory, cpus: m.opts.VM.CPUs}
	m.planTemplate(ctx, p)
	if p.template == nil {
		p.cpus = 1 // boots sooner
	}
	p.job = nil // not worth a template of its own
	return p, nil
}

// planTemplate finds the template of the plan's size.
func (m *machines) planTemplate(ctx context.Context, p *machinePlan) {
	if m.templates == nil {
		return
	}
	shape, err := m.shape(ctx, p.parts)
	if err != nil {
		p.why = engineapi.Sentence(err)
		return
	}
	p.job = &templateJob{
		shape:   template.Shape{Host: shape.host, Memory: p.memory, CPUs: p.cpus, Disk: m.opts.VM.DiskSize},
		clock:   shape.clock,
		machine: m.describe(p),
	}
	p.template, p.why = m.templates.take(ctx, p.job.shape, p.job.clock)
}

// shape gives what templates of machines with these parts have in common.
func (m *machines) shape(ctx context.Context, p machineParts) (hostShape, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	shape, err := lookAtShape(ctx, p, m.shapeKnown)
	if err != nil {
		return shape, fmt.Errorf("telling what a template depends on: %w", err)
	}
	m.shapeKnown = shape
	return shape, nil
}

// describe gives the plan in the shim's words, but for what is its container's.
func (m *machines) describe(p *machinePlan) shimapi.Machine {
	machine := shimapi.Machine{
		QEMU:        p.parts.accel.QEMU,
		Accel:       p.parts.accel.Accel,
		Kernel:      p.parts.image,
		Initramfs:   p.parts.initramfs,
		Memory:      p.memory,
		MaxMemory:   p.parts.maxMemory,
		CPUs:        p.cpus,
		OwnMemory:   m.opts.VM.OwnMemory,
		BootTimeout: bootTimeout,
	}
	if p.template != nil {
		machine.Template = &shimapi.Template{Digest: p.template.Digest.String()}
	}
	return machine
}

// done is to be called when a container's start has ended, one way or other. It
// has the template made that was missing.
func (m *machines) done(p *machinePlan) {
	if p == nil {
		return
	}
	p.close()
	if p.job != nil && p.template == nil {
		m.templates.want(*p.job)
	}
}

func (p *machinePlan) close() {
	if p.template != nil {
		_ = p.template.Close() // it was only read
	}
	if p.tap != nil {
		_ = p.tap.Close() // QEMU has its own
	}
	p.waited.close()
}

// files are what the shim of a machine of this user gets: the taps of its
// network, and what belongs to its template.
func (p *machinePlan) files(taps []*os.File, user uint32) ([]*os.File, error) {
	if p == nil || p.template == nil {
		return taps, nil
	}
	if len(taps) == 0 {
		var err error
		if p.tap, err = network.MakeLoneTap(user); err != nil {
			return nil, err
		}
		taps = []*os.File{p.tap}
	}
	return append(slices.Clone(taps), p.template.Memory, p.template.State), nil
}

// prepare makes the container's disk, if it has none yet, and describes its
// machine.
func (m *machines) prepare(c *ctr, rec record, p *machinePlan) (*shimapi.Machine, *machineStatus, error) {
	fresh, err := m.makeDisk(c, rec, p)
	if err != nil {
		return nil, nil, err
	}
	machine := m.describe(p)
	machine.UID = machineUser(rec.ID)
	machine.GID, machine.Fresh = machine.UID, fresh
	status := &machineStatus{
		Accelerator: p.parts.accel.Accel, Kernel: p.parts.kernel.Version, Memory: p.memory, CPUs: p.cpus,
		Start: machineBooted, Reason: p.why,
	}
	if p.template != nil {
		status.Template = p.template.Digest.String()
	}
	return &machine, status, nil
}

// How a machine came up.
const (
	machineBooted   = "booted"
	machineRestored = "restored" // from its template
	machinePooled   = "pooled"   // it had been waiting
)

// report completes a machine's status by what the shim says of its start.
func (s *machineStatus) report(bundle string) {
	data, err := os.ReadFile(filepath.Join(bundle, shimapi.MachineFile))
	if err != nil {
		return // it is in the shim's log why it did not write one
	}
	var r shimapi.MachineReport
	if json.Unmarshal(data, &r) != nil || r.Version != shimapi.Version {
		return
	}
	switch {
	case r.Pooled:
		s.Start, s.Reason = machinePooled, ""
	case r.Restored:
		s.Start, s.Reason = machineRestored, ""
	case r.Reason != "":
		s.Reason = r.Reason
	}
}

// came completes what is known of a machine that has come up, by what its shim
// says.
func (m *machines) came(p *machinePlan, s *machineStatus, bundle string) {
	if p == nil {
		return
	}
	s.report(bundle)
	if p.template != nil {
		m.templates.judge(p.template.Digest, s.Reason)
	}
}

// attributes are what a container's start event says of its machine.
func (s *machineStatus) attributes() []string {
	if s == nil {
		return nil
	}
	all := []string{"machine", s.Start}
	if s.Reason != "" {
		all = append(all, "reason", s.Reason)
	}
	return all
}

// makeDisk makes the container's writable disk. It is sparse, and made whole or
// not at all. It is a copy of the template's if there is one of its size, and
// that of a machine that has waited; fresh says that it is, and that nobody has
// written to it.
func (m *machines) makeDisk(c *ctr, rec record, p *machinePlan) (fresh bool, err error) {
	path := filepath.Join(c.dir, diskFile)
	if _, err := os.Stat(path); err == nil {
		return false, nil
	}
	size, err := spec.StorageSize(rec.HostConfig.StorageOpt)
	if err != nil {
		return false, err
	}
	if size == 0 {
		size = m.opts.VM.DiskSize
	}
	fresh = p.template != nil && size == m.opts.VM.DiskSize
	if fresh && p.waited != nil {
		return true, storeError("making the disk of", c.id, p.waited.GiveDisk(path))
	}
	tmp := path + ".tmp"
	_ = os.Remove(tmp)
	if fresh {
		err = ext4.Clone("/proc/self/fd/"+strconv.Itoa(int(p.template.Disk.Fd())), tmp)
	} else {
		err = ext4.Create(tmp, size)
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return false, storeError("making the disk of", c.id, errors.Join(err, removeIfThere(tmp)))
	}
	return fresh, nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// openTemplates has machines go on from templates, which are made as long as ctx
// lives.
func (m *machines) openTemplates(ctx context.Context) error {
	store, err := template.Open(template.Options{Dir: filepath.Join(m.cacheDir, "templates")})
	if err != nil {
		return err
	}
	m.practice = &practice{dir: filepath.Join(m.cacheDir, "practice"), cgroupParent: m.opts.CgroupParent}
	maker := &vmTemplates{opts: m.opts, practice: m.practice}
	m.templates = newTemplates(ctx, store, maker, m.log)
	return nil
}

// close ends what is being made, after the engine's context has ended.
func (m *machines) close() {
	if m.templates != nil {
		m.templates.close()
	}
}

// takeUpTemplates begins to see to the templates that are there.
func (m *machines) takeUpTemplates(ctx context.Context, p machineParts) {
	if m.templates == nil {
		return
	}
	shape, err := m.shape(ctx, p)
	if err != nil {
		m.log.Warn("virtual machines boot, for want of templates", "reason", err)
		return
	}
	m.templates.begin(shape.host)
	if err := vm.CanGiveBack(); err != nil && !m.opts.VM.OwnMemory {
		m.log.Warn("virtual machines that share a template's memory do not give back what they free", "reason", err)
	}
}
