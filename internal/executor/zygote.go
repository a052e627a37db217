package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"bothy/internal/executor/filter"
	"bothy/internal/executor/waiter"
)

// zygote is a container that was made ahead, by libcontainer as every other,
// with all its walls: namespaces, cgroup, mounts, masks, capabilities, seccomp.
// What it lacks is a root file system, in whose place it has an empty one, and
// a command, in whose place it runs a waiter. It becomes at most one container.
type zygote struct {
	id     string // libcontainer's
	dir    string // with the empty root file system
	spec   *specs.Spec
	lc     *libcontainer.Container
	lp     *libcontainer.Process
	pid    int
	ended  <-chan exit // of the process; nil: it was not started
	netns  string      // the path it was made with
	cgroup cgroups.Manager
	waiter *waiter.Waiter
	inside *stand
	reaper *Reaper
}

// zygotes is the one that waits, and what the next is made like.
type zygotes struct {
	making sync.Mutex     // held while one is made
	ending sync.WaitGroup // those that fitted no container

	mu      sync.Mutex
	count   int // of those made so far
	model   *specs.Spec
	waiting *zygote
}

// Prepare makes a container ahead, like the last one that was created, unless
// one waits already. The next Create takes it if it asks for such a container,
// and is done sooner; else it makes the container as a whole. Where there is
// nothing to go by Prepare does nothing. The container shares the network
// namespace at path, if path isn't "" and the model had one.
func (s *Service) Prepare(path string) error {
	z := &s.zygotes
	z.making.Lock()
	defer z.making.Unlock()
	id, model := z.next(path)
	if model == nil {
		return nil
	}
	made, err := s.makeZygote(id, model, path)
	if err != nil {
		return wrap(err, "making a container ahead")
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.waiting = made
	return nil
}

// next gives the id and the model of the zygote to make; no model: there is none,
// or a zygote waits that was made with the same network namespace. One with
// another is of no use any more and ends.
func (z *zygotes) next(netns string) (id string, model *specs.Spec) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if old := z.waiting; old != nil {
		if old.netns == netns {
			return "", nil
		}
		z.waiting = nil
		z.end(old)
	}
	z.count++
	return fmt.Sprint("zygote-", z.count), z.model
}

// learn remembers what the next zygote is to be like.
func (z *zygotes) learn(spec *specs.Spec) {
	if _, ok := shapeOf(spec); !ok {
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.model = spec
}

// take returns the waiting zygote. It is the caller's.
func (z *zygotes) take() *zygote {
	z.mu.Lock()
	defer z.mu.Unlock()
	taken := z.waiting
	z.waiting = nil
	return taken
}

// zygoteSpec is the spec of a container like the model in the empty root file
// system of dir, without what a zygote gets later.
func zygoteSpec(model *specs.Spec, id, dir, netns string) (*specs.Spec, error) {
	like, ok := shapeOf(model)
	if !ok {
		return nil, errors.New("the model cannot be made ahead")
	}
	spec, process, linux := *like.spec, *like.spec.Process, *like.spec.Linux
	spec.Root = &specs.Root{Path: filepath.Join(dir, rootfsDir)}
	process.Cwd, process.Args = "/", []string{"waiter"} // launch knows better
	linux.CgroupsPath = filepath.Join(linux.CgroupsPath, id)
	if r := model.Linux.Resources; r != nil { // limits can be given later, but not taken away
		linux.Resources = &specs.LinuxResources{Devices: r.Devices}
	}
	linux.Namespaces = nil
	for _, n := range model.Linux.Namespaces {
		if n.Type == specs.NetworkNamespace && netns != "" {
			n.Path = netns
		}
		linux.Namespaces = append(linux.Namespaces, n)
	}
	spec.Process, spec.Linux = &process, &linux
	return &spec, nil
}

func (s *Service) makeZygote(id string, model *specs.Spec, netns string) (_ *zygote, err error) {
	z := &zygote{id: id, dir: filepath.Join(s.options.Root, ".zygotes", id), netns: netns, reaper: s.options.Reaper}
	if z.spec, err = zygoteSpec(model, id, z.dir, netns); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, z.discard())
		}
	}()
	if err := os.MkdirAll(filepath.Join(z.spec.Root.Path, newRoot), 0o755); err != nil {
		return nil, err
	}
	config, err := containerConfig(id, z.dir, z.spec)
	if err != nil {
		return nil, err
	}
	if z.lc, err = libcontainer.Create(s.options.Root, id, config); err != nil {
		return nil, err
	}
	if err := z.launch(s.options.Waiter, s.filters); err != nil {
		return nil, err
	}
	if z.inside, err = standIn(z.pid); err != nil {
		return nil, err
	}
	z.cgroup, err = cgroupOf(z.lc)
	return z, err
}

// end ends a zygote, in the background.
func (z *zygotes) end(old *zygote) {
	z.ending.Go(func() { _ = old.discard() }) // there is nobody to tell
}

// launch starts the process and returns when it waits.
func (z *zygote) launch(path string, filters *filter.Cache) error {
	lp, err := newProcess(z.spec.Process)
	if err != nil {
		return err
	}
	ours, theirs, err := waiter.New()
	if err != nil {
		return err
	}
	defer theirs.Close()
	z.waiter = ours
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	program, err := os.Open(path)
	if err != nil {
		return err
	}
	defer program.Close()
	lp.Init = true
	lp.Stdin, lp.Stdout, lp.Stderr = null, null, null
	if record := recordOf(filters, z.spec); record != nil {
		defer record.Close()
		lp.ExtraFiles = append(lp.ExtraFiles, record.File)
	}
	lp.ExtraFiles = append(lp.ExtraFiles, program, theirs)
	last := 2 + len(lp.ExtraFiles)
	lp.Args = waiter.Args(last-1, last)
	err = z.reaper.Start(func() (int, error) {
		if err := z.lc.Start(lp); err != nil {
			return 0, err
		}
		z.pid, err = lp.Pid()
		return z.pid, err
	})
	if err != nil {
		return err
	}
	z.lp, z.ended = lp, endOf(lp, z.pid, z.reaper)
	if err := z.lc.Exec(); err != nil {
		return err
	}
	theirs.Close() // else the waiter's end would go unnoticed
	return z.waiter.Ready()
}

// discard ends a zygote that becomes no container.
func (z *zygote) discard() error {
	z.leave()
	if z.lp != nil {
		_ = z.lp.Signal(unix.SIGKILL)
		<-z.ended
	}
	var err error
	if z.lc != nil {
		err = z.lc.Destroy()
	}
	return errors.Join(err, z.remove())
}

// leave takes this process out of the zygote's namespaces.
func (z *zygote) leave() {
	if z.inside != nil {
		z.inside.leave()
		z.inside = nil
	}
}

// remove removes what is left of a zygote whose process has ended.
func (z *zygote) remove() error {
	if z.waiter != nil {
		_ = z.waiter.Close()
	}
	return os.RemoveAll(z.dir)
}

// closeZygotes ends the one that waits, and waits for those that are ending.
func (s *Service) closeZygotes() error {
	s.zygotes.making.Lock()
	defer s.zygotes.making.Unlock()
	defer s.zygotes.ending.Wait()
	if z := s.zygotes.take(); z != nil {
		return wrap(z.discard(), "ending a container made ahead")
	}
	return nil
}
