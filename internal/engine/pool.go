package engine

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"bothy/internal/network"
	"bothy/internal/vm/template"
)

// PoolAuto lets the pool itself decide how many machines wait.
const PoolAuto = -1

const (
	// poolIdle is how long after its last use a shape has machines waiting.
	poolIdle = 10 * time.Minute
	// poolTick lies between two looks at the memory and at what is idle.
	poolTick = 10 * time.Second
	// poolQuiet is how long no container has been starting before a machine is
	// made: whoever starts containers one after the other is not slowed down.
	poolQuiet = 250 * time.Millisecond
	// poolPause follows a machine that could not be made.
	poolPause = time.Minute
	// poolMakeTimeout bounds the making of a machine.
	poolMakeTimeout = 2 * time.Minute
	// poolEndTimeout bounds the orderly end of one.
	poolEndTimeout = 10 * time.Second
)

// poolPrivate is the memory in bytes that a waiting machine is expected to have
// for itself, beyond what it shares with its template: what QEMU and the guest
// write by then, translated code and the shim included: an emulated one of 2 GiB
// has 187 MiB.
const poolPrivate = 192 << 20

// waitingMachine is a shim with a machine that waits; package shimclient has the
// real one.
type waitingMachine interface {
	// Assign gives it to a container and connects to its shim. It is called at
	// most once.
	Assign(ctx context.Context, id, bundle string) (task, error)
	// Tap is what it is joined to a network by.
	Tap() *network.SpareTap
	// GiveDisk moves its writable disk to path.
	GiveDisk(path string) error
	// Done is closed when it has ended.
	Done() <-chan struct{}
	// Close ends one that was not assigned, and removes what the pool made for it
	// in any case. It may be called twice.
	Close(ctx context.Context)
}

// poolMaker makes machines that wait.
type poolMaker interface {
	// Make returns when the machine waits. The id is 64 hexadecimal digits.
	Make(ctx context.Context, id string, job templateJob) (waitingMachine, error)
	// Has says whether machines of the shape can be made: its template is there.
	Has(shape template.Shape) bool
}

// pooled is a machine of the pool. Its state is guarded by the pool's mutex.
type pooled struct {
	id      string
	shape   template.Shape
	machine waitingMachine
	state   poolState
}

// poolUse is a shape that containers have used.
type poolUse struct {
	job     templateJob // describes them
	last    time.Time   // when a container last wanted it
	failed  time.Time   // when a machine could last not be made
	waiting []*pooled   // ready, the oldest first
}

// pool keeps machines waiting for containers, and makes one at a time while
// nothing else is to be done. A nil pool has none.
type pool struct {
	size   int // how many for each shape; PoolAuto: as it sees fit
	maker  poolMaker
	newID  func() string
	now    func() time.Time
	memory func() (available, total int64) // of the host, bytes
	log    *slog.Logger
	wake   chan struct{} // has a token when there may be something to do

	mu       sync.Mutex // guards what follows
	uses     map[template.Shape]*poolUse
	starts   int       // containers that are starting
	quiet    time.Time // when the last of them had started
	closed   bool
	watchers sync.WaitGroup // of the machines that wait
}

func newPool(size int, maker poolMaker, log *slog.Logger) *pool {
	return &pool{
		size: size, maker: maker, newID: newID, now: time.Now, memory: hostMemoryLeft, log: log,
		wake: make(chan struct{}, 1), uses: map[template.Shape]*poolUse{},
	}
}

// run keeps the pool filled until ctx ends, and then ends what waits.
func (p *pool) run(ctx context.Context) {
	if p.size == 0 {
		return
	}
	tick := time.NewTicker(poolTick)
	defer tick.Stop()
	defer p.close(ctx)
	for {
		var again <-chan time.Time
		if wait := p.step(ctx); wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-again:
		case <-tick.C:
		case <-p.wake:
		case <-ctx.Done():
			return
		}
	}
}

// stir has the pool look whether there is something to do.
func (p *pool) stir() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// begin says that a container is starting, until the result is called.
func (p *pool) begin() (end func()) {
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starts++
	return func() {
		p.mu.Lock()
		p.starts--
		p.quiet = p.now()
		p.mu.Unlock()
		p.stir()
	}
}

// claim takes a machine of the shape that waits; nil if there is none. In either
// case the shape counts as used. The caller closes the machine when the
// container has started, or did not.
func (p *pool) claim(job templateJob) *pooled {
	if p == nil || p.size == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.useLocked(job)
	if len(u.waiting) == 0 || p.closed {
		return nil
	}
	m := u.waiting[0]
	u.waiting = u.waiting[1:]
	p.moveLocked(m, poolTake)
	return m
}

// use says that a container has a machine of the shape, where there can be none
// waiting yet.
func (p *pool) use(job templateJob) {
	if p == nil || p.size == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.useLocked(job)
}

// useLocked needs mu held.
func (p *pool) useLocked(job templateJob) *poolUse {
	u := p.uses[job.shape]
	if u == nil {
		u = &poolUse{}
		p.uses[job.shape] = u
	}
	u.job, u.last = job, p.now()
	return u
}

// moveLocked does op on a machine. It needs mu held.
func (p *pool) moveLocked(m *pooled, op poolOperation) {
	to, err := m.state.move(op)
	if err != nil {
		p.log.Error("the pool of machines", "error", err)
		return
	}
	m.state = to
}

// step drops what is not wanted and makes one machine if one is. It returns in
// how much time to look again, 0: when something happens.
func (p *pool) step(ctx context.Context) time.Duration {
	plan := p.plan()
	for _, m := range plan.drop {
		p.end(ctx, m)
	}
	if plan.job == nil || ctx.Err() != nil {
		return plan.wait
	}
	p.fill(ctx, *plan.job)
	p.stir() // there may be more to do
	return 0
}

// drop ends a machine that was claimed and is of no use.
func (p *pool) drop(ctx context.Context, m *pooled) {
	p.mu.Lock()
	p.moveLocked(m, poolDrop)
	p.mu.Unlock()
	p.end(ctx, m)
}

// end ends a machine that nobody is to have any more.
func (p *pool) end(ctx context.Context, m *pooled) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), poolEndTimeout)
	defer cancel()
	m.machine.Close(ctx)
}

// fill makes a machine and lets it wait.
func (p *pool) fill(ctx context.Context, job templateJob) {
	m := &pooled{id: p.newID(), shape: job.shape, state: poolStarting}
	began := p.now()
	making, cancel := context.WithTimeout(ctx, poolMakeTimeout)
	defer cancel()
	var err error
	m.machine, err = p.maker.Make(making, m.id, job)
	p.mu.Lock()
	u := p.uses[job.shape]
	switch {
	case err != nil:
		u.failed = p.now()
		p.moveLocked(m, poolDrop)
	default:
		p.moveLocked(m, poolRise)
		u.waiting = append(u.waiting, m)
		p.watchers.Go(func() { p.watch(ctx, m) })
	}
	p.mu.Unlock()
	switch {
	case err == nil:
		p.log.Debug("a virtual machine waits", "machine", m.id, "memory", job.shape.Memory, "cpus", job.shape.CPUs, "took", p.now().Sub(began))
	case ctx.Err() == nil:
		p.log.Warn("no virtual machine waits for the next container", "memory", job.shape.Memory, "cpus", job.shape.CPUs, "reason", err)
	}
}

// watch takes a machine that ended out of the pool.
func (p *pool) watch(ctx context.Context, m *pooled) {
	select {
	case <-m.machine.Done():
	case <-ctx.Done():
		return
	}
	p.mu.Lock()
	waited := m.state == poolReady
	if waited {
		p.removeLocked(m)
	}
	p.mu.Unlock()
	if waited {
		p.log.Warn("a virtual machine ended while it waited", "machine", m.id)
		p.end(ctx, m)
		p.stir()
	}
}

// removeLocked takes a machine that waits out of the pool. It needs mu held.
func (p *pool) removeLocked(m *pooled) {
	u := p.uses[m.shape]
	u.waiting = slices.DeleteFunc(u.waiting, func(other *pooled) bool { return other == m })
	p.moveLocked(m, poolDrop)
}

// close ends all machines that wait.
func (p *pool) close(ctx context.Context) {
	p.mu.Lock()
	p.closed = true
	var all []*pooled
	for _, u := range p.uses {
		all = append(all, slices.Clone(u.waiting)...)
	}
	for _, m := range all {
		p.removeLocked(m)
	}
	p.mu.Unlock()
	var each sync.WaitGroup
	for _, m := range all {
		each.Go(func() { p.end(ctx, m) })
	}
	each.Wait()
	p.watchers.Wait()
}
