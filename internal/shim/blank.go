package shim

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"

	"bothy/internal/executor"
	"bothy/internal/shimapi"
	"bothy/internal/vm"
)

const (
	// practiceTimeout bounds the practice of a machine that has gone on from its
	// template.
	practiceTimeout = time.Minute
	// poolShares is the weight that machines have against containers while nobody
	// uses them: what is made ahead is to disturb nobody. The kernel's default is
	// 1024.
	poolShares = 128
)

// pooledMachine is a machine that went on from a template and has practised.
type pooledMachine struct {
	*vm.Machine
	group cgroups.Manager // where it waits
	dir   string
	files []*os.File // see vmHome
}

// blankMachine makes a machine that waits.
func blankMachine(ctx context.Context, dir string, p shimapi.PoolPrepare, files []*os.File) (*blank, error) {
	group, err := manager.New(&cgroups.Cgroup{Path: p.Cgroup, Resources: waitingWeight()})
	if err != nil {
		return nil, fmt.Errorf("opening the cgroup %s: %w", p.Cgroup, err)
	}
	m, err := restoreBlank(ctx, dir, p, files, group)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a virtual machine that waits: %w", err), group.Destroy())
	}
	w := &pooledMachine{m, group, dir, files}
	return &blank{pid: m.Pid(), done: m.Done(), kill: w.end, home: w.home}, nil
}

func waitingWeight() *cgroups.Resources {
	return &cgroups.Resources{SkipDevices: true, CpuShares: poolShares}
}

func restoreBlank(ctx context.Context, dir string, p shimapi.PoolPrepare, files []*os.File, group cgroups.Manager) (*vm.Machine, error) {
	spec, err := os.ReadFile(filepath.Join(p.Practice.Bundle, shimapi.SpecFile))
	if err != nil {
		return nil, err
	}
	practice := vm.Practice{Image: p.Practice.Image, Bundle: p.Practice.Bundle}
	if practice.Filter, err = executor.Filter(ctx, p.Filters, spec); err != nil {
		return nil, err
	}
	config := vm.Config{
		ID: "the pool", Bundle: dir, Machine: p.Machine, Rootfs: practice.Rootfs(p.Disk),
		Started: func(pid int) error { return errors.Join(group.Apply(pid), group.Set(waitingWeight())) },
	}
	config.Machine.Fresh = true
	config.Taps, config.Template = splitFiles(&p.Machine, files)
	m, err := vm.Boot(ctx, config)
	if err != nil {
		return nil, err
	}
	if report := m.Report(); !report.Restored {
		m.Kill()
		return nil, errors.New(report.Reason)
	}
	ctx, cancel := context.WithTimeout(ctx, practiceTimeout)
	defer cancel()
	if err = m.Practise(ctx, practice, p.Disk); err == nil {
		err = m.Rest(ctx)
	}
	if err != nil {
		m.Kill()
		return nil, err
	}
	return m, nil
}

// end ends the machine where it waits.
func (m *pooledMachine) end() {
	m.Kill()
	m.leave()
}

// leave removes the cgroup that the machine has waited in.
func (m *pooledMachine) leave() {
	if err := m.group.Destroy(); err != nil {
		log.Printf("removing the cgroup of a machine that waited: %v", err)
	}
}

// home gives the machine to a container, or starts another one if that fails.
func (m *pooledMachine) home(ctx context.Context, o homeOptions) (*home, error) {
	moveLog(m.dir, o.bundle)
	h, err := m.take(ctx, o)
	if err == nil {
		return h, nil
	}
	log.Printf("the machine that waited is of no use, so another one is started: %v", err)
	m.end()
	o.network = m.files
	// The machine had the disk mounted, so it is not what the template knows.
	machine := *o.machine
	machine.Fresh, o.machine = false, &machine
	return vmHome(ctx, o)
}

// take makes the machine the container's home.
func (m *pooledMachine) take(ctx context.Context, o homeOptions) (*home, error) {
	group, err := machineGroup(o.bundle, o.id)
	if err != nil {
		return nil, err
	}
	moved := make(chan error, 1)
	go func() { // the kernel takes 10 ms
		moved <- group.Apply(m.Pid())
		o.trace.Mark(traceName, "machine in its cgroup")
		m.leave()
	}()
	filter := compileFilter(ctx, o)
	err = m.Assign(ctx, vm.Assignment{
		ID: o.id, Bundle: o.bundle, Machine: *o.machine, Rootfs: o.rootfs, Streams: o.streams,
		Filter: func() []byte { return <-filter }, Trace: guestTrace(o.trace),
	})
	o.trace.Mark(traceName, "machine has its disks")
	if err == nil {
		err = writeReport(o.bundle, m.Report())
	}
	if err != nil {
		<-moved
		return nil, err // the next machine will be in the cgroup
	}
	h := machineHome(m.Machine, o.id, group)
	h.TTRPCTaskService = movingTask{h.TTRPCTaskService, moved}
	return h, nil
}

// movingTask is the task service of a machine that is on its way to another
// cgroup: it has arrived when Create has.
type movingTask struct {
	taskAPI.TTRPCTaskService
	moved <-chan error // one value
}

func (t movingTask) Create(ctx context.Context, req *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskResponse, error) {
	resp, err := t.TTRPCTaskService.Create(ctx, req)
	if moveErr := <-t.moved; moveErr != nil && err == nil {
		return nil, fmt.Errorf("moving QEMU to the container's cgroup: %w", moveErr)
	}
	return resp, err
}
