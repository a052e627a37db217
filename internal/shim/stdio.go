package shim

import (
	"io"
	"slices"
	"sync"
	"time"

	"bothy/internal/logfile"
)

// drainTimeout bounds the wait for the end of output after a process's exit:
// it passes only if another process keeps the output open.
const drainTimeout = 2 * time.Second

// stdioOptions say what standard streams a process has.
type stdioOptions struct {
	tty                   bool
	stdin, stdout, stderr bool
	// once closes stdin when the first client that writes to it has ended its
	// writing side; a terminal's stays open.
	once bool
	// direct takes output by calls instead of a pipe: from somebody who has
	// to copy it anyway.
	direct bool
	log    *logfile.Writer // nil: none
}

// stdio is one process's standard streams: output goes to the log first and
// then to the attached clients; input comes from these.
type stdio struct {
	opts stdioOptions
	in   *input // nil: /dev/null
	out  *output
	err  *output

	mu       sync.Mutex
	clients  []*client
	open     int  // outputs that have not ended
	released bool // the process has ended
	ended    bool // all output has
}

// newStdio makes the process's streams. What its process's side doesn't take
// by openInput and openOutput, finish closes.
func newStdio(opts stdioOptions) (*stdio, error) {
	s := &stdio{opts: opts}
	var err error
	if opts.stdin {
		s.in, err = newInput()
	}
	if opts.stdout && err == nil {
		s.out, err = s.newOutput("stdout", stdoutID)
	}
	if opts.stderr && !opts.tty && err == nil {
		s.err, err = s.newOutput("stderr", stderrID)
	}
	if err != nil {
		s.finish()
		return nil, err
	}
	return s, nil
}

// attach adds a client, to which first is sent in any case.
func (s *stdio) attach(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = slices.DeleteFunc(s.clients, func(c *client) bool {
		select {
		case <-c.gone:
			return true
		default:
			return false
		}
	})
	s.clients = append(s.clients, c)
	if s.released {
		c.release()
	}
	if s.ended {
		c.end()
	}
}

// remaining are the clients to which output is still being written.
func (s *stdio) remaining() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.clients)
}

// feed copies what a client writes to the process's stdin until the client
// ends that, or the process.
func (s *stdio) feed(r io.Reader) {
	if s.in == nil {
		_, _ = io.Copy(io.Discard, r)
		return
	}
	_, _ = io.CopyBuffer(s.in, r, make([]byte, 4<<10))
	if s.opts.once && !s.opts.tty {
		s.in.close()
	}
}

// release lets the rest of the output pass whatever clients do. It is called
// when the process has ended.
func (s *stdio) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = true
	for _, c := range s.clients {
		c.release()
	}
}

// finish waits for the end of output after the process's, and closes
// everything. Clients get the rest in their own time.
func (s *stdio) finish() {
	s.release()
	if s.in != nil {
		s.in.abandon()
	}
	var wg sync.WaitGroup
	for _, o := range []*output{s.out, s.err} {
		if o != nil {
			wg.Go(o.finish)
		}
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
}

// end tells the clients that all output has come. s is locked.
func (s *stdio) end() {
	s.ended = true
	for _, c := range s.clients {
		c.end()
	}
}
