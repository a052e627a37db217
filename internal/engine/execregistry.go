package engine

import (
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

const (
	// execKept is how long an execution that has ended can be asked about, as
	// docker has it; execsKept is how many of those are kept at most.
	execKept  = 5 * time.Minute
	execsKept = 1000
	// execSlack is how many more there may be before they are looked through.
	execSlack = 200
)

// execRegistry finds executions. Of an engine that is no more, the next one
// finds those that run; see execFile.
type execRegistry struct {
	mu      sync.Mutex
	all     map[string]*execution
	sweepAt int // how many there are when they are looked through next
}

func newExecRegistry() *execRegistry {
	return &execRegistry{all: map[string]*execution{}, sweepAt: execSlack}
}

// add registers e, and forgets those that ended long ago.
func (x *execRegistry) add(e *execution) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all[e.id] = e
	if len(x.all) >= x.sweepAt {
		x.sweepLocked(time.Now())
		x.sweepAt = len(x.all) + execSlack
	}
}

// sweepLocked forgets executions that ended long ago, the oldest of those
// beyond execsKept, and those of removed containers. It needs mu held.
func (x *execRegistry) sweepLocked(now time.Time) {
	type ended struct {
		id string
		at time.Time
	}
	var kept []ended
	for id, e := range x.all {
		v := e.view()
		switch {
		case e.c.isGone(), v.state == execEnded && now.Sub(v.endedAt) > execKept:
			delete(x.all, id)
		case v.state == execEnded:
			kept = append(kept, ended{id, v.endedAt})
		}
	}
	slices.SortFunc(kept, func(a, b ended) int { return a.at.Compare(b.at) })
	for _, old := range kept[:max(0, len(kept)-execsKept)] {
		delete(x.all, old.id)
	}
}

// find gives the execution with this full ID.
func (x *execRegistry) find(id string) (*execution, error) {
	x.mu.Lock()
	e, ok := x.all[id]
	x.mu.Unlock()
	if !ok || e.c.isGone() {
		return nil, failure(errdefs.ErrNotFound, "No such exec instance: %s", id)
	}
	return e, nil
}

// of lists the executions of a container that have not ended, sorted.
func (x *execRegistry) of(c *ctr) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var ids []string
	for id, e := range x.all {
		if e.c == c && e.view().state != execEnded {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
