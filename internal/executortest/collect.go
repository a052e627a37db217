package executortest

import (
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// collector takes all output of a stream as it comes.
type collector struct {
	mu    sync.Mutex
	cond  *sync.Cond
	data  strings.Builder
	ended bool
}

func collect(r io.Reader) *collector {
	c := &collector{}
	c.cond = sync.NewCond(&c.mu)
	if r == nil {
		c.ended = true
		return c
	}
	go func() {
		buf := make([]byte, 32<<10)
		for {
			n, err := r.Read(buf)
			c.mu.Lock()
			c.data.Write(buf[:n])
			c.ended = err != nil
			c.cond.Broadcast()
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return c
}

// all waits for the stream's end and gives everything.
func (c *collector) all(t *testing.T) string {
	t.Helper()
	return c.until(t, "the end", func(string) bool { return false })
}

// expect waits until the output contains text.
func (c *collector) expect(t *testing.T, text string) {
	t.Helper()
	got := c.until(t, text, func(s string) bool { return strings.Contains(s, text) })
	if !strings.Contains(got, text) {
		t.Fatalf("the output ended without %q: %q", text, got)
	}
}

// until waits for a condition or the stream's end.
func (c *collector) until(t *testing.T, what string, ok func(string) bool) string {
	t.Helper()
	late := false
	timer := time.AfterFunc(Timeout, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		late = true
		c.cond.Broadcast()
	})
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ended && !ok(c.data.String()) {
		if late {
			t.Fatalf("waited in vain for %s in the output: %q", what, c.data.String())
		}
		c.cond.Wait()
	}
	return c.data.String()
}
