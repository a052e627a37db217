package engine

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"bothy/internal/vm"
	"bothy/internal/vm/template"
)

// fakeMaker makes templates of nothing much.
type fakeMaker struct {
	t     *testing.T
	fail  atomic.Pointer[error]
	hold  chan struct{} // if not nil, each making waits for a value
	begun chan struct{} // likewise gets a value when one has begun
	count atomic.Int32
	busy  atomic.Int32
}

func (f *fakeMaker) makeTemplate(ctx context.Context, job templateJob, disk string) (*vm.Template, error) {
	if f.busy.Add(1) > 1 {
		f.t.Error("two are made at once")
	}
	defer f.busy.Add(-1)
	f.count.Add(1)
	if f.hold != nil {
		f.begun <- struct{}{}
		select {
		case <-f.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := f.fail.Load(); err != nil {
		return nil, *err
	}
	dir := f.t.TempDir()
	file := func(path string, size int64) *os.File {
		w, err := os.Create(path)
		if err == nil {
			err = w.Truncate(size)
		}
		if err != nil {
			f.t.Error(err)
		}
		return w
	}
	_ = file(disk, job.shape.Disk).Close()
	return &vm.Template{Memory: file(filepath.Join(dir, "memory"), job.shape.Memory), State: file(filepath.Join(dir, "state"), 10)}, nil
}

// templateRig is templates with a fake maker.
type templateRig struct {
	*templates
	maker *fakeMaker
	dir   string
	log   *syncBuffer
	end   context.CancelFunc
}

// syncBuffer is a buffer that many write to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newTemplateRig(t *testing.T) *templateRig {
	t.Helper()
	return openTemplateRig(t, t.TempDir())
}

func openTemplateRig(t *testing.T, dir string) *templateRig {
	t.Helper()
	store, err := template.Open(template.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	r := &templateRig{maker: &fakeMaker{t: t}, dir: dir, log: &syncBuffer{}, end: end}
	r.templates = newTemplates(ctx, store, r.maker, slog.New(slog.NewTextHandler(r.log, nil)))
	r.memory = func() (int64, int64) { return 1 << 40, 1 << 40 }
	t.Cleanup(func() {
		end()
		r.close()
	})
	return r
}

func job(cpus int) templateJob {
	return templateJob{shape: template.Shape{Host: template.Host{Kernel: "k"}, Memory: 1 << 20, CPUs: cpus, Disk: 1 << 20}, clock: 1000}
}

// has fails the test unless there is a template for the job, or why there is none
// has the words.
func (r *templateRig) has(t *testing.T, j templateJob, words string) {
	t.Helper()
	got, why := r.take(t.Context(), j.shape, j.clock)
	if got != nil {
		must(t, got.Close())
	}
	if got == nil != (words != "") || !strings.Contains(why, words) {
		t.Errorf("template %v, reason %q, want %q", got != nil, why, words)
	}
}

func TestTemplateIsMadeWhenWanted(t *testing.T) {
	t.Parallel()
	r := newTemplateRig(t)
	r.has(t, job(1), "no template of its size yet")
	for range 3 {
		r.want(job(1))
	}
	r.want(job(2))
	r.jobs.Wait()
	r.has(t, job(1), "")
	r.has(t, job(2), "")
	r.want(job(1))
	r.jobs.Wait()
	if n := r.maker.count.Load(); n != 2 {
		t.Errorf("%d were made, want 2", n)
	}
	if text := r.describe(); !strings.HasPrefix(text, "2 (2 in memory)") {
		t.Errorf("described as %q", text)
	}
}

func TestTemplateInTheMakingIsNotWantedTwice(t *testing.T) {
	t.Parallel()
	r := newTemplateRig(t)
	r.maker.hold, r.maker.begun = make(chan struct{}), make(chan struct{})
	r.want(job(1))
	<-r.maker.begun
	r.want(job(1))
	r.want(job(2)) // after it
	r.maker.hold <- struct{}{}
	<-r.maker.begun
	if text := r.describe(); !strings.Contains(text, "one is being made") {
		t.Errorf("described as %q", text)
	}
	r.maker.hold <- struct{}{}
	r.jobs.Wait()
	if n := r.maker.count.Load(); n != 2 {
		t.Errorf("%d were made, want 2", n)
	}
}

func TestTemplateThatFailsIsTriedLater(t *testing.T) {
	t.Parallel()
	r := newTemplateRig(t)
	now := time.Now()
	r.now = func() time.Time { return now }
	err := error(errdefs.ErrUnavailable.WithMessage("the guest does not answer"))
	r.maker.fail.Store(&err)
	for wait := firstRetry; wait < lastRetry; wait *= 2 {
		before := r.maker.count.Load()
		for range 2 {
			r.want(job(1))
			r.jobs.Wait()
		}
		if n := r.maker.count.Load() - before; n != 1 {
			t.Errorf("%d tries after %s", n, wait/2)
		}
		now = now.Add(wait)
	}
	r.has(t, job(1), "the guest does not answer")
	if n := strings.Count(r.log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings: %s", n, r.log)
	}
	r.maker.fail.Store(nil)
	now = now.Add(lastRetry)
	r.want(job(1))
	r.jobs.Wait()
	r.has(t, job(1), "")
	entries, rerr := os.ReadDir(r.dir)
	if rerr != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, rerr)
	}
}

func TestTemplateThatIsDamagedIsMadeAgain(t *testing.T) {
	t.Parallel()
	r := newTemplateRig(t)
	r.want(job(1))
	r.jobs.Wait()
	must(t, r.store.Unload(time.Now().Add(time.Hour)))
	must(t, os.Truncate(filepath.Join(r.dir, job(1).shape.Digest().Encoded(), "memory"), 5))
	r.has(t, job(1), "memory has 5 bytes")
	if !strings.Contains(r.log.String(), "memory has 5 bytes") {
		t.Errorf("the log says %q", r.log)
	}
	r.has(t, job(1), "no template of its size yet")
	r.want(job(1))
	r.jobs.Wait()
	r.has(t, job(1), "")
}

func TestTemplateOfAnotherClockIsDropped(t *testing.T) {
	t.Parallel()
	r := newTemplateRig(t)
	r.want(job(1))
	r.jobs.Wait()
	j := job(1)
	j.clock *= 2
	r.has(t, j, "clock runs at another rate")
	r.has(t, job(1), "no template of its size yet")
}

func TestStaleTemplatesAreDropped(t *testing.T) {
	t.Parallel()
	r := newTemplateRig(t)
	old := job(1)
	old.shape.Kernel = "older"
	r.want(old)
	r.want(job(1))
	r.jobs.Wait()
	r.dropStale(job(1).shape.Host)
	r.has(t, job(1), "")
	r.has(t, old, "no template of its size yet")
}

func TestClosingEndsTheMaking(t *testing.T) {
	t.Parallel()
	r := newTemplateRig(t)
	r.maker.hold, r.maker.begun = make(chan struct{}), make(chan struct{})
	r.begin(job(1).shape.Host)
	r.want(job(1))
	r.want(job(2))
	<-r.maker.begun
	r.end()
	r.close()
	if n := r.maker.count.Load(); n != 1 {
		t.Errorf("%d were begun, want 1", n)
	}
	if text := r.log.String(); strings.Contains(text, "WARN") || strings.Contains(text, "ERROR") {
		t.Errorf("the log says %s", text)
	}
	r.want(job(3)) // is nobody's business any more
	r.begin(job(1).shape.Host)
	entries, err := os.ReadDir(r.dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestTemplatesOutliveTheEngine(t *testing.T) {
	t.Parallel()
	r := newTemplateRig(t)
	r.want(job(1))
	r.jobs.Wait()
	r.end()
	r.close()
	again := openTemplateRig(t, r.dir)
	again.has(t, job(1), "")
}

func TestTemplateWithoutRoomSaysSo(t *testing.T) {
	t.Parallel()
	r := newTemplateRig(t)
	err := diskError(&os.PathError{Op: "write", Path: "memory", Err: unix.ENOSPC})
	r.maker.fail.Store(&err)
	r.want(job(1))
	r.jobs.Wait()
	r.has(t, job(1), "free some disk space")
	if text := r.describe(); !strings.Contains(text, "could not be made: write memory") {
		t.Errorf("described as %q", text)
	}
}

func TestTemplateThatMachinesCannotUseIsDropped(t *testing.T) {
	t.Parallel()
	r := newTemplateRig(t)
	now := time.Now()
	r.now = func() time.Time { return now }
	r.want(job(1))
	r.jobs.Wait()
	d := job(1).shape.Digest()
	for _, reason := range []string{"QEMU refuses", "", "QEMU refuses"} { // not twice in a row
		r.judge(d, reason)
		r.has(t, job(1), "")
	}
	r.judge(d, "QEMU refuses")
	r.has(t, job(1), "QEMU refuses")
	r.want(job(1)) // not yet
	r.jobs.Wait()
	r.has(t, job(1), "QEMU refuses")
	now = now.Add(firstRetry)
	r.want(job(1))
	r.jobs.Wait()
	r.has(t, job(1), "")
}

func TestNoTemplateIsMadeWithoutMemory(t *testing.T) {
	t.Parallel()
	r := newTemplateRig(t)
	r.memory = func() (int64, int64) { return templateMemory - 1, 1 << 40 }
	r.want(job(1))
	r.jobs.Wait()
	r.has(t, job(1), "the host has 511 MiB of memory left")
	if r.maker.count.Load() > 0 || r.idle() != 0 {
		t.Errorf("%d were begun, and others stay for %s", r.maker.count.Load(), r.idle())
	}
}
