package shim

import (
	"net"
	"sync"
)

// maxQueue is how many bytes may wait for a client that reads slowly. Past it
// the process's output is held back.
const maxQueue = 1 << 20

// client is one attached connection's output side. Its queue keeps the order
// of what is sent to it; a goroutine of its own writes that to the connection.
type client struct {
	conn           *net.UnixConn
	stdout, stderr bool
	gone           chan struct{} // closed when the connection is

	mu      sync.Mutex
	cond    *sync.Cond // queue, waiting, flush or dead has changed
	queue   net.Buffers
	waiting int  // bytes in queue and in the write that is under way
	free    bool // output is no longer held back
	ended   bool // nothing more will be queued
	dead    bool
}

// newClient begins with first in its queue.
func newClient(conn *net.UnixConn, first []byte) *client {
	c := &client{conn: conn, gone: make(chan struct{}), queue: net.Buffers{first}, waiting: len(first)}
	c.cond = sync.NewCond(&c.mu)
	return c
}

// send queues p, which it keeps, and waits while too much is queued.
func (c *client) send(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.waiting > 0 && c.waiting+len(p) > maxQueue && !c.free && !c.dead {
		c.cond.Wait()
	}
	if c.dead || c.ended {
		return
	}
	c.queue = append(c.queue, p)
	c.waiting += len(p)
	c.cond.Broadcast()
}

// release lets output pass even if much is queued: the process has ended, so
// what is left of it is little.
func (c *client) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = true
	c.cond.Broadcast()
}

// end closes the connection once all that is queued is written.
func (c *client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.cond.Broadcast()
}

// drop closes the connection at once and holds nobody back any more.
func (c *client) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dead {
		c.dead = true
		c.queue, c.waiting = nil, 0
		_ = c.conn.Close()
		close(c.gone)
		c.cond.Broadcast()
	}
}

// run writes the queue to the connection until its end.
func (c *client) run() {
	defer c.drop()
	for {
		batch, ok := c.next()
		if !ok {
			return
		}
		n, err := batch.WriteTo(c.conn)
		if err != nil {
			return
		}
		c.wrote(int(n))
	}
}

func (c *client) wrote(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting -= n
	c.cond.Broadcast()
}

// next waits for something to write and takes it.
func (c *client) next() (net.Buffers, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) == 0 && !c.ended && !c.dead {
		c.cond.Wait()
	}
	batch := c.queue
	c.queue = nil
	return batch, len(batch) > 0
}
