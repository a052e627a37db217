package engine

import (
	"context"
	"log/slog"
	"maps"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"bothy/internal/trace"
)

// ctr is one container in memory. Two locks, always taken in this order:
//
//   - acquire/release: held through starting, the handling of an end, removing
//     and renaming, which may take long and never overlap;
//   - mu: held for moments, above the fields.
type ctr struct {
	id    string
	dir   string // state directory, below the data root
	files *store

	busy  chan struct{}   // one token: see acquire
	still still           // its files while it does not run
	trace *trace.Timeline // of the present run, nil for none; whoever has acquired the container uses it

	mu         sync.Mutex
	rec        record // its pointers lead to values that never change
	st         status
	task       task          // the shim, while there is one
	ended      chan struct{} // closed when the present run has ended and that was recorded; nil if none is
	starting   bool          // a start is under way: see settle
	restarting int           // how many restarts are under way: its end does not remove the container then
	gone       bool          // removed: all else is history
	waiters    []waiter
	pending    map[*pendingAttach]struct{}
}

func newCtr(files *store, rec record, st status) *ctr {
	return &ctr{
		id: rec.ID, dir: files.dir(rec.ID), files: files,
		busy: make(chan struct{}, 1), rec: rec, st: st,
		pending: map[*pendingAttach]struct{}{},
	}
}

// acquire waits until no other operation that changes the container is under
// way.
func (c *ctr) acquire(ctx context.Context) error {
	select {
	case c.busy <- struct{}{}:
		return nil
	default:
	}
	defer c.still.want()()
	select {
	case c.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *ctr) release() { <-c.busy }

func (c *ctr) setStarting(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starting = on
}

// settle waits for a start that is under way: a stop, kill or wait that comes
// meanwhile is about the container that it brings up.
func (c *ctr) settle(ctx context.Context) error {
	c.mu.Lock()
	starting := c.starting
	c.mu.Unlock()
	if !starting {
		return nil
	}
	if err := c.acquire(ctx); err != nil {
		return err
	}
	c.release()
	return nil
}

// snapshot gives what is known of the container at one moment.
func (c *ctr) snapshot() (record, status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec, c.st
}

// check says whether op is allowed now. It also refuses on one that was
// removed since it was found.
func (c *ctr) check(op operation) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.checkLocked(op)
}

// checkLocked needs mu held.
func (c *ctr) checkLocked(op operation) error {
	if c.gone {
		return failure(errdefs.ErrNotFound, "No such container: %s", c.id)
	}
	ref := c.rec.Name
	if op.namesID() {
		ref = c.id
	}
	_, err := next(ref, c.st.State, op)
	return err
}

// move does op: it changes the state as the table says, and the status by edit,
// which is called with mu held. The change is on disk when move returns; if it
// cannot be written it holds nevertheless, because it has happened.
func (c *ctr) move(op operation, edit func(*status)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	to, err := next(c.rec.Name, c.st.State, op)
	if err != nil {
		return err
	}
	c.st.State = to
	if edit != nil {
		edit(&c.st)
	}
	c.saveLocked()
	return nil
}

// note changes the status but not the state.
func (c *ctr) note(edit func(*status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	edit(&c.st)
	c.saveLocked()
}

// saveLocked needs mu held.
func (c *ctr) saveLocked() {
	if err := c.files.saveStatus(c.id, c.st); err != nil {
		slog.Error("a container's state was not saved", "container", c.id, "error", err)
	}
}

// shim gives the container's shim, or the error of op on one that has none.
func (c *ctr) shim(op operation) (task, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.checkLocked(op); err != nil {
		return nil, err
	}
	if c.task == nil {
		return nil, refusal(c.rec.Name, container.StateExited, op)
	}
	return c.task, nil
}

// attributes are those of the container's events: its labels, and whose it is.
func (r record) attributes(more ...string) map[string]string {
	a := map[string]string{}
	maps.Copy(a, r.Config.Labels)
	a["image"], a["name"] = r.Config.Image, r.Name
	for i := 0; i+1 < len(more); i += 2 {
		a[more[i]] = more[i+1]
	}
	return a
}
