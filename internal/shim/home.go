package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/opencontainers/cgroups"

	"bothy/internal/executor"
	"bothy/internal/shimapi"
	"bothy/internal/trace"
	"bothy/internal/vm"
)

// home is what runs a container: a task service and what ends with it.
type home struct {
	taskAPI.TTRPCTaskService

	// direct says that output arrives by copying, so that a pipe of our own
	// would only be one more.
	direct bool
	// files answers one request of package rootfs over a connection that stays the
	// caller's, in being what is read of it.
	files func(ctx context.Context, conn *net.UnixConn, in io.Reader)
	// oomKilled says whether the kernel killed for want of memory. It is asked
	// between the container's end and Delete.
	oomKilled func(ctx context.Context) (bool, error)
	// err says why the home has ended unasked; nil if it hasn't.
	err func() error
	// close frees what the home holds, once its container is deleted or could
	// not be made.
	close func() error
	// second starts another home where this one has ended before it did anything
	// for the container; nil if that is no use.
	second func(context.Context) (*home, error)
	// drop is a close that neither needs the container deleted nor keeps what it
	// has written; nil where deleting is as cheap.
	drop func() error
}

// homeOptions are what a home is made of.
type homeOptions struct {
	id, bundle string
	rootfs     []*types.Mount
	machine    *shimapi.Machine // nil: the home is this host
	network    []*os.File
	streams    streams
	filters    string          // see shimapi.CreateOptions
	trace      *trace.Timeline // nil: none
	booted     string          // why a machine is to boot although it has a template; "": it need not
}

// newHome makes a home. If it fails, nothing is left.
type newHome func(context.Context, homeOptions) (*home, error)

// stateDir is the directory in a bundle with libcontainer's state.
const stateDir = "rc"

// hostHome makes the home that the options ask for.
func hostHome(ctx context.Context, o homeOptions) (*home, error) {
	if o.machine == nil {
		return processHome(o)
	}
	return vmHome(ctx, o)
}

// processHome runs the container on this host.
func processHome(o homeOptions) (*home, error) {
	service, err := executor.New(executor.Options{Root: filepath.Join(o.bundle, stateDir), Streams: o.streams, Filters: o.filters, Trace: o.trace.Marker(traceName)})
	if err != nil {
		return nil, err
	}
	return &home{
		TTRPCTaskService: service,
		files:            executorFiles(func() (*executor.Files, error) { return service.Files(o.id) }),
		oomKilled:        func(context.Context) (bool, error) { return service.OOMKilled(o.id) },
		err:              func() error { return nil },
		close:            func() error { return nil },
	}, nil
}

// vmHome starts a machine, in the container's cgroup, and runs the container in
// it.
func vmHome(ctx context.Context, o homeOptions) (*home, error) {
	group, err := machineGroup(o.bundle, o.id)
	if err != nil {
		return nil, err
	}
	filter := compileFilter(ctx, o)
	config := vm.Config{
		ID:      o.id,
		Bundle:  o.bundle,
		Machine: *o.machine,
		Rootfs:  o.rootfs,
		Streams: o.streams,
		Filter:  func() []byte { return <-filter },
		Started: group.Apply,
	}
	config.Trace = guestTrace(o.trace)
	config.Taps, config.Template = splitFiles(o.machine, o.network)
	if o.booted != "" {
		config.Template, config.Reason = nil, o.booted
	}
	machine, err := vm.Boot(ctx, config)
	if err != nil {
		return nil, errors.Join(err, group.Destroy())
	}
	h := machineHome(machine, o.id, group)
	if err := writeReport(o.bundle, machine.Report()); err != nil {
		return nil, errors.Join(err, h.close())
	}
	h.second = func(ctx context.Context) (*home, error) {
		if !machine.Stillborn() {
			return nil, nil
		}
		o.booted = "going on from the template: " + machine.Err().Error()
		if err := h.close(); err != nil {
			return nil, err
		}
		return vmHome(ctx, o)
	}
	return h, nil
}

// guestTrace adds what a guest tells of its start to a time line, if there is one.
func guestTrace(t *trace.Timeline) func(at time.Duration, phase string) {
	if t == nil {
		return nil
	}
	return func(at time.Duration, phase string) { t.MarkAt(at, "guest", phase) }
}

// splitFiles tells taps and template apart in what a machine's network files and
// those that follow them are.
func splitFiles(m *shimapi.Machine, files []*os.File) ([]*os.File, *vm.Template) {
	n := len(files) - 2
	if m.Template == nil || n < 0 {
		return files, nil
	}
	return files[:n], &vm.Template{Memory: files[n], State: files[n+1]}
}

// machineHome is the home that a machine is for a container.
func machineHome(machine *vm.Machine, id string, group cgroups.Manager) *home {
	return &home{
		TTRPCTaskService: machine.Task(),
		direct:           true,
		files:            machineFiles(machine, id),
		oomKilled:        func(ctx context.Context) (bool, error) { return machine.OOMKilled(ctx, id) },
		err:              func() error { return machineError(machine, group) },
		close:            func() error { return errors.Join(machine.Close(), group.Destroy()) },
		drop:             func() error { machine.Kill(); return nil },
	}
}

// writeReport keeps how the container's machine came up.
func writeReport(bundle string, report shimapi.MachineReport) error {
	data, err := json.Marshal(report)
	if err == nil {
		err = writeFile(filepath.Join(bundle, shimapi.MachineFile), append(data, '\n'), false)
	}
	if err != nil {
		return fmt.Errorf("keeping how the machine came up: %w", err)
	}
	return nil
}

// compileFilter compiles the container's seccomp filter while its machine boots:
// the guest would take much longer. One that cannot be compiled here is left
// to the guest, and so is a second one.
func compileFilter(ctx context.Context, o homeOptions) <-chan []byte {
	compiled := make(chan []byte, 1)
	go func() {
		defer close(compiled)
		if o.filters == "" {
			return
		}
		spec, err := os.ReadFile(filepath.Join(o.bundle, shimapi.SpecFile))
		if err == nil {
			var filter []byte
			filter, err = executor.Filter(ctx, o.filters, spec)
			compiled <- filter
		}
		if err != nil {
			log.Printf("the guest compiles the seccomp filter itself: %v", err)
		}
	}()
	return compiled
}
