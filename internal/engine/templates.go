package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"bothy/internal/engineapi"
	"bothy/internal/shimapi"
	"bothy/internal/vm"
	"bothy/internal/vm/template"
)

const (
	// templateRoom is what a template takes at most of the disk, as far as has
	// been seen: what a guest has touched until it waits.
	templateRoom = 512 << 20
	// templateIdle is how long a template that nobody uses stays in memory, and
	// templateLook the time between two looks at that and at the disk.
	templateIdle = 10 * time.Minute
	templateLook = 5 * time.Minute
	// templateMemory is the memory in bytes that the host must have left for a
	// template to be made, and for those that nobody uses to stay in memory.
	templateMemory = 512 << 20
	// templateStrikes is how many machines in a row may fail to go on from a
	// template before it is dropped: one may have had no time or memory.
	templateStrikes = 2
	// A template that could not be made is tried again after firstRetry, then
	// after twice as long, up to lastRetry: and only if it is wanted.
	firstRetry = time.Minute
	lastRetry  = time.Hour
)

// templateJob is a template to make.
type templateJob struct {
	shape   template.Shape
	clock   int             // see template.Info
	machine shimapi.Machine // of that shape, without a user of its own
}

// templateMaker makes a template; vmTemplates is the real one. The disk's path
// is where the template's writable disk is to be.
type templateMaker interface {
	makeTemplate(ctx context.Context, job templateJob, disk string) (*vm.Template, error)
}

// templates gives machines what they go on from, and has made in the background
// what is missing: one at a time.
type templates struct {
	store *template.Store
	maker templateMaker
	log   *slog.Logger
	now   func() time.Time
	// memory gives what the host has left and what it has, bytes; zeros: unknown.
	memory func() (available, total int64)

	ctx  context.Context // ends when the engine is closed
	jobs sync.WaitGroup

	mu      sync.Mutex
	closed  bool // nothing is begun any more
	waiting []templateJob
	making  digest.Digest // "": none
	failed  map[digest.Digest]templateFailure
	strikes map[digest.Digest]int
}

// templateFailure is why there is no template.
type templateFailure struct {
	times  int
	retry  time.Time // not before that
	reason string
}

func newTemplates(ctx context.Context, store *template.Store, maker templateMaker, log *slog.Logger) *templates {
	return &templates{
		store: store, maker: maker, log: log, now: time.Now, memory: hostMemoryLeft, ctx: ctx,
		failed: map[digest.Digest]templateFailure{}, strikes: map[digest.Digest]int{},
	}
}

// take gives the template of a shape, which is the caller's to close, or says why
// there is none. It may take some tenths of a second once, to read it.
func (t *templates) take(ctx context.Context, shape template.Shape, clock int) (_ *template.Template, why string) {
	d := shape.Digest()
	got, err := t.store.Use(ctx, d)
	var damaged *template.DamagedError
	switch {
	case err == nil && !sameClock(got.Clock, clock):
		_ = got.Close()
		t.drop(d, "the processor's clock ran at another rate when it was made")
		return nil, "its template was made where the processor's clock runs at another rate"
	case err == nil:
		return got, ""
	case errdefs.IsNotFound(err):
		return nil, t.absence(d)
	case errors.As(err, &damaged):
		t.log.Warn("a virtual machines' template was dropped", "template", d.Encoded(), "reason", damaged.Reason)
	default:
		t.log.Warn("a virtual machine boots, for want of its template", "error", err)
	}
	return nil, engineapi.Sentence(err)
}

// absence says why there is no template of the name.
func (t *templates) absence(d digest.Digest) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, ok := t.failed[d]; ok {
		return f.reason
	}
	return "there was no template of its size yet"
}

// want has a template made unless it is there, being made, or could not be made
// a short while ago. It does not wait.
func (t *templates) want(job templateJob) {
	d := job.shape.Digest()
	if t.store.Has(d) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.making == d || t.now().Before(t.failed[d].retry) {
		return
	}
	for _, other := range t.waiting {
		if other.shape == job.shape {
			return
		}
	}
	t.waiting = append(t.waiting, job)
	if len(t.waiting) == 1 && t.making == "" {
		t.jobs.Go(t.work)
	}
}

// work makes what is waiting, until nothing is.
func (t *templates) work() {
	for {
		job, ok := t.next()
		if !ok {
			return
		}
		err := t.makeOne(job)
		t.made(job.shape.Digest(), err)
	}
}

func (t *templates) next() (job templateJob, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.making = ""
	if len(t.waiting) == 0 || t.ctx.Err() != nil {
		return job, false
	}
	job, t.waiting = t.waiting[0], t.waiting[1:]
	t.making = job.shape.Digest()
	return job, true
}

// made remembers how the making of a template ended.
func (t *templates) made(d digest.Digest, err error) {
	if t.ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		delete(t.failed, d)
		return
	}
	f := t.failed[d]
	wait := min(firstRetry<<min(f.times, 16), lastRetry)
	f.times++
	f.retry, f.reason = t.now().Add(wait), engineapi.Sentence(err)
	t.failed[d] = f
	level := slog.LevelDebug
	if f.times == 1 {
		level = slog.LevelWarn
	}
	t.log.Log(t.ctx, level, "virtual machines of one size boot, for want of a template", "template", d.Encoded(), "reason", f.reason)
}

// makeOne makes a template and keeps it.
func (t *templates) makeOne(job templateJob) error {
	begin := time.Now()
	if left, total := t.memory(); total > 0 && left < templateMemory {
		return failure(errdefs.ErrResourceExhausted, "the host has %d MiB of memory left, and a template is made only where it has %d", left>>20, templateMemory>>20)
	}
	dropped, err := t.store.MakeRoom(t.ctx, templateRoom)
	t.tellDropped(dropped, "the disk is short of room")
	if err != nil {
		return err
	}
	stage, err := t.store.Stage()
	if err != nil {
		return err
	}
	made, err := t.maker.makeTemplate(t.ctx, job, stage.Disk())
	if err != nil {
		return errors.Join(err, stage.Discard())
	}
	defer made.Close()
	d, err := stage.Save(t.ctx, template.Made{Shape: job.shape, Clock: job.clock, Memory: made.Memory, State: made.State})
	if err != nil {
		return diskError(err)
	}
	t.log.Info("made a template for virtual machines", "template", d.Encoded(), "memory", job.shape.Memory, "cpus", job.shape.CPUs, "took", time.Since(begin).Round(time.Millisecond))
	return nil
}

// judge takes note of how a machine that had a template came up. The reason, if
// there is one, is why it could not go on from it.
func (t *templates) judge(d digest.Digest, reason string) {
	t.mu.Lock()
	if reason == "" {
		delete(t.strikes, d)
		t.mu.Unlock()
		return
	}
	t.strikes[d]++
	out := t.strikes[d] >= templateStrikes
	if out {
		delete(t.strikes, d)
	}
	t.mu.Unlock()
	t.log.Warn("a virtual machine could not go on from its template", "template", d.Encoded(), "reason", reason)
	if out {
		t.drop(d, "machines cannot go on from it")
		t.made(d, errors.New(reason)) // not to be made again at once
	}
}

// drop deletes a template.
func (t *templates) drop(d digest.Digest, reason string) {
	if _, err := t.store.Drop(d); err != nil && !errdefs.IsNotFound(err) {
		t.log.Error("dropping a virtual machines' template", "error", err)
		return
	}
	t.tellDropped([]digest.Digest{d}, reason)
}

func (t *templates) tellDropped(ds []digest.Digest, reason string) {
	for _, d := range ds {
		t.log.Info("dropped a virtual machines' template", "template", d.Encoded(), "reason", reason)
	}
}

// begin takes up the templates that are there, now that it is known what this
// host's machines are made of, and sees to them from then on.
func (t *templates) begin(host template.Host) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.jobs.Go(func() {
			t.dropStale(host)
			t.tend()
		})
	}
}

// dropStale deletes the templates that no machine of this host can go on from.
func (t *templates) dropStale(host template.Host) {
	all, err := t.store.List()
	if err != nil {
		t.log.Error("looking for old templates", "error", err)
	}
	for _, info := range all {
		if info.Shape.Host != host {
			t.drop(info.Digest, "its kernel, its guest's program, QEMU or the processor is another one now")
		}
	}
}

// tend lets go of what nobody uses, and keeps the disk from filling up.
func (t *templates) tend() {
	look := time.NewTicker(templateLook)
	defer look.Stop()
	for {
		dropped, err := t.store.MakeRoom(t.ctx, 0)
		t.tellDropped(dropped, "the disk is short of room")
		if err == nil || errdefs.IsResourceExhausted(err) {
			err = t.store.Unload(t.now().Add(-t.idle()))
		}
		if err != nil && t.ctx.Err() == nil {
			t.log.Error("tending virtual machines' templates", "error", err)
		}
		select {
		case <-look.C:
		case <-t.ctx.Done():
			return
		}
	}
}

// idle is how long a template that nobody uses stays in memory.
func (t *templates) idle() time.Duration {
	if left, total := t.memory(); total > 0 && left < templateMemory {
		return 0
	}
	return templateIdle
}

// close lets go of everything, after ctx has ended.
func (t *templates) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.jobs.Wait()
	if err := t.store.Close(); err != nil {
		t.log.Error("closing virtual machines' templates", "error", err)
	}
}

// describe is the row of `info` about templates.
func (t *templates) describe() string {
	all, err := t.store.List()
	if err != nil {
		return engineapi.Sentence(err)
	}
	loaded := 0
	for _, info := range all {
		if info.Loaded {
			loaded++
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	text := fmt.Sprintf("%d (%d in memory)", len(all), loaded)
	if t.making != "" {
		text += ", one is being made"
	}
	for _, f := range t.failed {
		return text + ", one could not be made: " + f.reason
	}
	return text
}
