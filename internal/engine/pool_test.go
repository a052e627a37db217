package engine

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"bothy/internal/network"
	"bothy/internal/vm/template"
)

const gb = 1 << 30

// poolBox is a pool over fakes, whose clock and memory are the test's.
type poolBox struct {
	*pool
	t   *testing.T
	ctx context.Context // ends when the engine does

	cancel context.CancelFunc

	mu        sync.Mutex
	clock     time.Time
	available int64
	gone      map[template.Shape]bool // shapes whose template is gone
	fail      error                   // of the next machine
	making    int                     // at once
	made      []*fakeWaiting
}

func newPoolBox(t *testing.T, size int) *poolBox {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	b := &poolBox{t: t, ctx: ctx, cancel: cancel, clock: time.Unix(1_000_000, 0), available: 16 * gb, gone: map[template.Shape]bool{}}
	b.pool = newPool(size, b, slog.New(slog.NewTextHandler(t.Output(), nil)))
	n := 0
	b.newID = func() string { n++; return strconv.Itoa(n) }
	b.now = func() time.Time { b.mu.Lock(); defer b.mu.Unlock(); return b.clock }
	b.pool.memory = func() (int64, int64) { b.mu.Lock(); defer b.mu.Unlock(); return b.available, 20 * gb }
	return b
}

func (b *poolBox) Make(_ context.Context, id string, _ templateJob) (waitingMachine, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.making != 0 {
		b.t.Error("two machines are made at once")
	}
	if err := b.fail; err != nil {
		b.fail = nil
		return nil, err
	}
	m := &fakeWaiting{id: id, done: make(chan struct{}), closed: make(chan struct{})}
	b.made = append(b.made, m)
	return m, nil
}

func (b *poolBox) Has(shape template.Shape) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.gone[shape]
}

// set changes what the fakes do.
func (b *poolBox) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func (b *poolBox) pass(d time.Duration) { b.set(func() { b.clock = b.clock.Add(d) }) }

// settle does all that there is to do now, and returns how many machines wait.
func (b *poolBox) settle() int {
	b.t.Helper()
	for range 20 {
		select {
		case <-b.wake:
		default:
		}
		b.step(b.ctx)
		select {
		case <-b.wake:
			b.stir()
		default:
			return b.waiting()
		}
	}
	b.t.Fatal("the pool does not come to rest")
	return 0
}

func (b *poolBox) waiting() int {
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	n := 0
	for _, u := range b.uses {
		n += len(u.waiting)
	}
	return n
}

type fakeWaiting struct {
	id     string
	done   chan struct{}
	closed chan struct{}
}

func (f *fakeWaiting) Assign(context.Context, string, string) (task, error) {
	return nil, errors.New("not here")
}
func (f *fakeWaiting) Tap() *network.SpareTap { return nil }
func (f *fakeWaiting) GiveDisk(string) error  { return nil }
func (f *fakeWaiting) Done() <-chan struct{}  { return f.done }
func (f *fakeWaiting) Close(context.Context)  { close(f.closed) }

func (f *fakeWaiting) isClosed() bool {
	select {
	case <-f.closed:
		return true
	default:
		return false
	}
}

var (
	small = templateJob{shape: template.Shape{Memory: 256 << 20, CPUs: 1}}
	large = templateJob{shape: template.Shape{Memory: 4 * gb, CPUs: 2}}
)

// TestPoolMoves does every operation in every state.
func TestPoolMoves(t *testing.T) {
	t.Parallel()
	want := map[poolState]map[poolOperation]poolState{
		poolStarting: {poolRise: poolReady, poolDrop: poolGone},
		poolReady:    {poolTake: poolClaimed, poolDrop: poolGone},
		poolClaimed:  {poolDrop: poolGone},
		poolGone:     {},
	}
	for state, allowed := range want {
		for _, op := range []poolOperation{poolRise, poolTake, poolDrop} {
			to, err := state.move(op)
			if next, ok := allowed[op]; ok && (err != nil || to != next) || !ok && (err == nil || to != state) {
				t.Errorf("%s of what is %s: %s, %v", op, state, to, err)
			}
		}
	}
}

func TestPoolFollowsUse(t *testing.T) {
	t.Parallel()
	b := newPoolBox(t, PoolAuto)
	if b.settle() != 0 {
		t.Error("machines wait that nobody asked for")
	}
	b.set(func() { b.gone[small.shape] = true })
	b.use(small) // its template is being made
	if n := b.settle(); n != 0 {
		t.Errorf("without a template %d machines wait", n)
	}
	b.set(func() { b.gone[small.shape] = false })
	if n := b.settle(); n != 1 {
		t.Errorf("after the first use %d machines wait", n)
	}
	b.claim(large)
	if n := b.settle(); n != 2 {
		t.Errorf("after the use of two shapes %d machines wait", n)
	}
	m := b.claim(small)
	if m == nil || m.state != poolClaimed || m.shape != small.shape {
		t.Fatalf("claimed %+v", m)
	}
	if b.claim(small) != nil {
		t.Error("a machine was given away twice")
	}
	if n := b.settle(); n != 2 {
		t.Errorf("after a claim %d machines wait", n)
	}
	b.pass(poolIdle / 2)
	other := b.claim(large)
	b.settle()
	b.pass(poolIdle/2 + time.Second)
	if n := b.settle(); n != 1 {
		t.Errorf("after idle minutes %d machines wait", n)
	}
	b.pass(poolIdle)
	if n := b.settle(); n != 0 || len(b.uses) != 0 {
		t.Errorf("after more of them %d machines wait, of %d shapes", n, len(b.uses))
	}
	for _, f := range b.made {
		if f.isClosed() == (f.id == m.id || f.id == other.id) {
			t.Errorf("machine %s: closed %t", f.id, f.isClosed())
		}
	}
}

func TestPoolGivesWayToStarts(t *testing.T) {
	t.Parallel()
	b := newPoolBox(t, PoolAuto)
	one, two := b.begin(), b.begin()
	b.claim(small)
	one()
	if n := b.settle(); n != 0 {
		t.Error("a machine was made while a container was starting")
	}
	two()
	if wait := b.step(b.ctx); wait != poolQuiet || len(b.made) != 0 {
		t.Errorf("right after a start: %d made, waiting for %s", len(b.made), wait)
	}
	b.pass(poolQuiet)
	if n := b.settle(); n != 1 {
		t.Errorf("%d machines wait", n)
	}
}

func TestPoolNeedsMemory(t *testing.T) {
	t.Parallel()
	b := newPoolBox(t, PoolAuto)
	b.set(func() { b.available = 4*gb - 1 }) // of 20: less than a fifth
	b.claim(small)
	if n := b.settle(); n != 0 {
		t.Error("a machine was made while memory was short")
	}
	b.set(func() { b.available = 4 * gb })
	if n := b.settle(); n != 1 {
		t.Errorf("with enough memory %d machines wait", n)
	}
	b.set(func() { b.available = 4*gb - poolPrivate })
	if n := b.settle(); n != 1 {
		t.Error("a machine went for the memory that it takes itself")
	}
	b.set(func() { b.available = 3 * gb })
	if n := b.settle(); n != 0 || !b.made[0].isClosed() {
		t.Error("a machine waits although memory is short")
	}
}

func TestPoolOfFixedSize(t *testing.T) {
	t.Parallel()
	b := newPoolBox(t, 3)
	b.claim(small)
	if n := b.settle(); n != 3 {
		t.Errorf("%d machines wait", n)
	}
	b.pass(10 * poolIdle)
	if n := b.settle(); n != 3 {
		t.Errorf("after idle minutes %d machines wait", n)
	}
	b.set(func() { b.gone[small.shape] = true })
	if n := b.settle(); n != 0 {
		t.Errorf("%d machines wait although their template is gone", n)
	}
	none := newPoolBox(t, 0)
	none.claim(small)
	if n := none.settle(); n != 0 || none.String() != "off" {
		t.Errorf("%d machines wait although the pool is off", n)
	}
}

func TestPoolMachineThatCannotBeMade(t *testing.T) {
	t.Parallel()
	b := newPoolBox(t, PoolAuto)
	b.set(func() { b.fail = errors.New("no luck") })
	b.claim(small)
	if n := b.settle(); n != 0 {
		t.Errorf("%d machines wait", n)
	}
	b.pass(poolPause - time.Second)
	if n := b.settle(); n != 0 {
		t.Error("it was tried again at once")
	}
	b.pass(time.Second)
	if n := b.settle(); n != 1 {
		t.Errorf("after a pause %d machines wait", n)
	}
}

func TestPoolMachineThatEnds(t *testing.T) {
	t.Parallel()
	b := newPoolBox(t, PoolAuto)
	b.claim(small)
	b.settle()
	close(b.made[0].done)
	<-b.made[0].closed
	<-b.wake
	if b.claim(small) != nil {
		t.Error("a machine that has ended was given away")
	}
	if n := b.settle(); n != 1 {
		t.Errorf("%d machines wait", n)
	}
}

func TestPoolCloses(t *testing.T) {
	t.Parallel()
	b := newPoolBox(t, 2)
	b.claim(small)
	b.settle()
	b.cancel()
	b.run(b.ctx)
	for _, m := range b.made {
		if !m.isClosed() {
			t.Errorf("machine %s lives", m.id)
		}
	}
	if b.claim(small) != nil {
		t.Error("a closed pool gave a machine away")
	}
}

func TestPoolInWords(t *testing.T) {
	t.Parallel()
	b := newPoolBox(t, PoolAuto)
	if got := b.String(); got != "auto, none waiting" {
		t.Error(got)
	}
	b.claim(small)
	b.claim(large)
	b.settle()
	if got := b.String(); got != "auto, waiting: 1 of 256MiB; 1 of 4GiB" {
		t.Error(got)
	}
}

func TestParseMemoryLeft(t *testing.T) {
	t.Parallel()
	available, total := parseMemoryLeft("MemTotal:  100 kB\nMemFree: 7 kB\nMemAvailable:    40 kB\nHugePages_Total: 0\nMemAvailable: x kB\n")
	if available != 40<<10 || total != 100<<10 {
		t.Errorf("%d of %d", available, total)
	}
}

func FuzzParseMemoryLeft(f *testing.F) {
	f.Add("MemTotal:  100 kB\nMemAvailable:    40 kB\n")
	f.Fuzz(func(t *testing.T, text string) {
		if available, total := parseMemoryLeft(text); available < 0 || total < 0 {
			t.Errorf("%d of %d", available, total)
		}
	})
}
