package engine

import (
	"context"

	"bothy/internal/network"
	"bothy/internal/vm"
)

// waited is a machine of the pool that has become a container's.
type waited struct {
	waitingMachine
	task task // its shim
}

// claim gives the container a machine that waits, if there is one that fits: it
// is then the plan's. One that turns out to have ended is as good as none.
func (s *starter) claim(ctx context.Context, c *ctr, rec record, p *machinePlan) {
	if p.job == nil || len(rec.Layers) > vm.LayerSlots {
		return
	}
	if p.template == nil { // it is made after this start, and machines then
		s.pool.use(*p.job)
		return
	}
	m := s.pool.claim(*p.job)
	if m == nil {
		return
	}
	t, err := m.machine.Assign(ctx, c.id, s.bundle(c.id))
	if err != nil {
		s.log.Warn("a virtual machine that waited is of no use: another one is started", "container", rec.Name, "reason", err)
		s.pool.drop(ctx, m)
		return
	}
	p.waited = &waited{m.machine, t}
}

// shim is the connection to the shim of a machine that has waited, nil for one
// that is to be started.
func (p *machinePlan) shim() task {
	if p == nil || p.waited == nil {
		return nil
	}
	return p.waited.task
}

// spareTap is what a machine that has waited is joined to a network by, nil for
// one that is to be started.
func (p *machinePlan) spareTap() *network.SpareTap {
	if p == nil || p.waited == nil {
		return nil
	}
	return p.waited.Tap()
}

// close removes what the pool made and the container does not need.
func (w *waited) close() {
	if w != nil {
		w.Close(context.Background()) // it is claimed: there is nothing to wait for
	}
}

// openPool has machines wait for containers, where there are templates.
func (s *starter) openPool(taps tapMaker) (*vmPool, error) {
	maker := &vmPool{opts: s.opts, program: s.program, templates: s.machines.templates, practice: s.machines.practice, taps: taps}
	if err := maker.sweep(); err != nil {
		return nil, err
	}
	s.pool = newPool(s.opts.VM.Pool, maker, s.log)
	return maker, nil
}
