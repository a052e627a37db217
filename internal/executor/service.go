package executor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"

	"bothy/internal/executor/filter"
)

// Options are what a Service needs.
type Options struct {
	// Root is an absolute directory for libcontainer's state, made if missing.
	// It belongs on a tmpfs: nothing in it means anything after a reboot.
	Root string

	// Streams opens the processes' stdio.
	Streams Streams

	// Filters is a directory that keeps compiled seccomp filters, for all
	// executors of the machine: root's alone, made if missing. "": none.
	Filters string

	// Reaper is needed where this process is the parent of orphans, which is to
	// say in PID 1; else nil.
	Reaper *Reaper

	// ResolveMount turns a mount of a Create request into one of this machine:
	// in a guest, a disk's serial number into its device. Nil leaves all as is.
	ResolveMount func(*types.Mount) (*types.Mount, error)

	// Mounted, if not nil, is called when a container's root file system is
	// mounted, and holds up its first process until it returns: in a guest, until
	// the network namespace is there that the spec names. Its error ends Create.
	Mounted func(id string) error

	// Waiter is the path of the program that Prepare's containers wait in, which
	// links package waiter and, having to run in an empty root, is static. "":
	// this program.
	Waiter string

	// Trace, if not nil, is told of each phase of a container's start when it is
	// done.
	Trace func(phase string)
}

// mark tells that a phase of a start is done.
func (o Options) mark(phase string) {
	if o.Trace != nil {
		o.Trace(phase)
	}
}

// Service is containerd's task service (v3) over libcontainer. It may hold many
// containers. All methods may be called concurrently.
type Service struct {
	options Options
	filters *filter.Cache // nil: none

	done     chan struct{} // closed by Shutdown
	doneOnce sync.Once

	zygotes zygotes

	mu         sync.Mutex
	containers map[string]*container // nil value: being created
}

// New makes a Service without containers.
func New(o Options) (*Service, error) {
	if !filepath.IsAbs(o.Root) {
		return nil, errorf(errdefs.ErrInvalidArgument, "the executor's root %q is not an absolute path", o.Root)
	}
	if o.Streams == nil {
		return nil, errorf(errdefs.ErrInvalidArgument, "the executor has no streams")
	}
	if err := os.MkdirAll(o.Root, 0o700); err != nil {
		return nil, wrap(err, "making the executor's root")
	}
	if o.Waiter == "" {
		o.Waiter = "/proc/self/exe"
	}
	s := &Service{options: o, done: make(chan struct{}), containers: map[string]*container{}}
	if o.Filters != "" {
		var err error
		if s.filters, err = filter.New(o.Filters); err != nil {
			return nil, wrap(err, "making the executor's directories")
		}
	}
	return s, nil
}

// Done is closed when a client has asked for Shutdown and no container is left.
func (s *Service) Done() <-chan struct{} { return s.done }

// OOMKilled says whether the kernel killed a process of the container for want
// of memory. It is certain once Wait has answered, and until Delete.
func (s *Service) OOMKilled(id string) (bool, error) {
	c, err := s.container(id)
	if err != nil {
		return false, err
	}
	return c.oomKills() > 0, nil
}

// Close kills and deletes every container; the context bounds it.
func (s *Service) Close(ctx context.Context) error {
	errs := []error{s.closeZygotes()}
	for _, c := range s.list() {
		c.forceKill()
		select {
		case <-c.init.done:
		case <-ctx.Done():
			return wrap(ctx.Err(), "waiting for container %s to end", c.id)
		}
		if err := c.delete(); err != nil {
			errs = append(errs, err)
			continue
		}
		s.forget(c.id)
	}
	return errors.Join(errs...)
}

func (s *Service) list() []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*container
	for _, c := range s.containers {
		if c != nil {
			all = append(all, c)
		}
	}
	return all
}

// reserve claims an id for a container that is being created.
func (s *Service) reserve(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.containers[id]; ok {
		return errorf(errdefs.ErrAlreadyExists, "container %s already exists", id)
	}
	s.containers[id] = nil
	return nil
}

func (s *Service) keep(c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[c.id] = c
}

func (s *Service) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, id)
}

func (s *Service) container(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.containers[id]
	if !ok {
		return nil, errorf(errdefs.ErrNotFound, "container %s does not exist", id)
	}
	if c == nil {
		return nil, errorf(errdefs.ErrFailedPrecondition, "container %s is still being created", id)
	}
	return c, nil
}

// process finds a container's first process or, by its exec id, a further one.
func (s *Service) process(id, execID string) (*container, *process, error) {
	c, err := s.container(id)
	if err != nil {
		return nil, nil, err
	}
	p, err := c.process(execID)
	return c, p, err
}
