package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/go-digest"

	"bothy/internal/event"
	"bothy/internal/executor/sealed"
	"bothy/internal/image"
	"bothy/internal/network"
)

// Engine is containers, images, networks and the system in one.
type Engine struct {
	*Containers
	*Images
	*Networks
	*System
	*Execs
	*Usage

	store    *image.Store
	networks *network.Manager
	program  *os.File
	close    context.CancelFunc
}

// Open opens the engine's stores and takes up the containers that run. Only one
// process may have a data root and exec root open: the caller sees to that.
func Open(ctx context.Context, opts Options) (_ *Engine, err error) {
	opts, err = opts.withDefaults()
	if err != nil {
		return nil, err
	}
	var undo rollback
	defer func() {
		if err != nil {
			undo.run(ctx)
		}
	}()
	for dir, mode := range map[string]os.FileMode{opts.DataRoot: 0o711, opts.ExecRoot: 0o711, filepath.Join(opts.ExecRoot, "c"): 0o711} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return nil, fmt.Errorf("opening the engine: %w", err)
		}
	}
	program, err := sealed.File(opts.Shim)
	if err != nil {
		return nil, fmt.Errorf("opening the engine: %w", err)
	}
	undo.add(func(context.Context) { _ = program.Close() })
	images, err := image.Open(ctx, image.Options{
		Root:               filepath.Join(opts.DataRoot, "image"),
		RegistryConfigDirs: opts.RegistryConfig,
		InsecureRegistries: opts.InsecureRegistries,
	})
	if err != nil {
		return nil, err
	}
	undo.add(func(context.Context) { _ = images.Close() })
	networks, err := network.Open(ctx, opts.Network)
	if err != nil {
		return nil, err
	}
	undo.add(func(ctx context.Context) { _ = networks.Close(ctx, true) })

	e := &Engine{store: images, networks: networks, program: program}
	undo.add(func(context.Context) { e.stop() })
	if err := e.assemble(ctx, opts, images, networks, programShims{}); err != nil {
		return nil, err
	}
	e.Networks = &Networks{store: networks, containers: e.Containers}
	if opts.VM.Templates {
		if err := e.Containers.starter.machines.openTemplates(e.Containers.ctx); err != nil {
			return nil, err
		}
		if err := e.beginPool(); err != nil {
			return nil, err
		}
	}
	images.SetUsers(e.Containers.imagesInUse)
	e.Containers.cleaning.Go(e.Containers.collect) // what a crash left
	e.System.warnings = networks.Warnings
	e.Containers.cleaning.Go(func() { e.Containers.starter.machines.lookAhead(e.Containers.ctx) })
	return e, nil
}

// assemble makes the parts of the engine over its stores, and takes up the
// containers on disk.
func (e *Engine) assemble(ctx context.Context, opts Options, images imageStore, networks networkStore, shims shims) error {
	files, err := openStore(opts.DataRoot, opts.Log)
	if err != nil {
		return err
	}
	bus := &event.Bus{}
	h := lookAtHost()
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e.close = cancel
	e.Containers = &Containers{
		opts: opts, files: files, index: newIndex(), execs: newExecRegistry(), images: images, bus: bus, log: opts.Log, ctx: life,
		starter: &starter{
			opts: opts, networks: networks, shims: shims, machines: newMachines(opts), gate: newGate(runtime.NumCPU()), host: h, program: e.program, bus: bus, log: opts.Log,
		},
	}
	e.Execs, e.Usage = &Execs{containers: e.Containers}, &Usage{containers: e.Containers}
	e.Images = &Images{store: images, containers: e.Containers, bus: bus}
	e.System, err = newSystem(opts, h, e.Containers, images, bus)
	if err != nil {
		return err
	}
	return e.Containers.restore(ctx)
}

// beginPool has machines wait for containers as long as the engine is open.
func (e *Engine) beginPool() error {
	s := e.Containers.starter
	maker, err := s.openPool(e.networks)
	if err != nil {
		return err
	}
	e.Containers.cleaning.Go(func() {
		s.pool.run(e.Containers.ctx)
		if err := maker.sweep(); err != nil {
			s.log.Error("ending the pool of virtual machines", "error", err)
		}
	})
	return nil
}

// Close lets go of everything. Containers run on; the next Open finds them.
func (e *Engine) Close() error {
	e.stop()
	var first error
	_, up, paused, _ := e.Containers.counts()
	if up+paused == 0 {
		removeEmptyCgroup("/sys/fs/cgroup", e.Containers.opts.CgroupParent)
	}
	closeNetworks := func() error { return e.networks.Close(context.Background(), up+paused > 0) }
	for _, closeIt := range []func() error{closeNetworks, e.store.Close, e.program.Close} {
		if err := closeIt(); err != nil && first == nil {
			first = fmt.Errorf("closing the engine: %w", err)
		}
	}
	return first
}

// stop ends what the engine does by itself.
func (e *Engine) stop() {
	if e.close == nil { // it was never assembled
		return
	}
	e.close()
	e.Containers.watchers.Wait()
	e.Containers.cleaning.Wait()
	e.Containers.starter.machines.close()
	for _, c := range e.Containers.index.all() {
		c.letGo()
	}
}

// letGo ends the connection to the container's shim.
func (c *ctr) letGo() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.task != nil {
		_ = c.task.Close()
	}
}

// imagesInUse names the images of all containers, for the image store's
// collector.
func (s *Containers) imagesInUse(context.Context) ([]digest.Digest, error) {
	var ids []digest.Digest
	for _, c := range s.index.all() {
		rec, _ := c.snapshot()
		ids = append(ids, digest.Digest(rec.ImageID))
	}
	return ids, nil
}

// usersOf names the containers that use an image, for a refusal to remove it.
func (s *Containers) usersOf(id digest.Digest) []string {
	return s.using(id, func(State) bool { return true })
}

// runningUsersOf names those of them that run.
func (s *Containers) runningUsersOf(id digest.Digest) []string { return s.using(id, running) }

func (s *Containers) using(id digest.Digest, in func(State) bool) []string {
	var users []string
	for _, v := range s.views() {
		if v.rec.ImageID == id.String() && in(v.st.State) {
			users = append(users, v.rec.ID)
		}
	}
	return users
}
