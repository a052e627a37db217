package image

import (
	"io"
	"sync"
	"time"
)

// Progress is one step of an operation, in docker's words.
type Progress struct {
	// ID is what moves: the first 12 digits of a layer's digest, or a tag.
	ID string
	// Status is "Pulling fs layer", "Downloading", "Download complete",
	// "Extracting", "Pull complete", "Already exists", "Loading layer", ...
	Status string
	// Current and Total are bytes; 0 where there is nothing to count.
	Current, Total int64
}

// progressInterval is the least time between two reports of one count.
const progressInterval = 100 * time.Millisecond

// reporter hands progress to a callback, one call at a time. A nil callback is
// fine.
type reporter struct {
	mu sync.Mutex
	to func(Progress)
}

func (r *reporter) say(id, status string, current, total int64) {
	if r.to == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to(Progress{ID: id, Status: status, Current: current, Total: total})
}

// counter reports how much was read through it, not more often than
// progressInterval.
type counter struct {
	io.Reader
	r          *reporter
	id, status string
	n, total   int64
	last       time.Time
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	if now := time.Now(); now.Sub(c.last) >= progressInterval {
		c.last = now
		c.r.say(c.id, c.status, c.n, c.total)
	}
	return n, err
}
