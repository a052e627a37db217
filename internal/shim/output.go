package shim

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"bothy/internal/logfile"
)

// output is one stream of a process's output.
type output struct {
	s      *stdio
	id     byte // 0 for a terminal
	stderr bool
	log    *logfile.Stream
	r, w   *os.File      // a pipe, if not direct; w until the process has it
	done   chan struct{} // closed by Close

	mu     sync.Mutex
	taken  bool // the process's side has it
	closed bool
}

func (s *stdio) newOutput(name string, id byte) (*output, error) {
	o := &output{s: s, id: id, stderr: id == stderrID, log: s.opts.log.Stream(name), done: make(chan struct{})}
	if s.opts.tty {
		o.id = 0
	}
	s.open++
	if s.opts.direct {
		return o, nil
	}
	var err error
	if o.r, o.w, err = os.Pipe(); err != nil {
		return nil, err
	}
	go o.drain()
	return o, nil
}

// take gives the process's end, once.
func (o *output) take() (io.WriteCloser, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.taken || o.closed {
		return nil, false
	}
	o.taken = true
	if o.s.opts.direct {
		return o, true
	}
	w := o.w
	o.w = nil
	return w, true
}

// drain copies the pipe to log and clients until its end.
func (o *output) drain() {
	defer o.r.Close()
	defer o.Close()
	p, err := newPipeReader(o.r)
	for err == nil {
		var data []byte
		if data, err = p.read(true); err == nil {
			_, _ = o.Write(data)
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		o.rest(p)
	}
}

// rest takes what lies in the pipe, without waiting for more.
func (o *output) rest(p *pipeReader) {
	_ = o.r.SetReadDeadline(time.Time{})
	for taken := 0; taken < maxQueue; {
		data, err := p.read(false)
		if err != nil || len(data) == 0 {
			return
		}
		_, _ = o.Write(data)
		taken += len(data)
	}
}

// Write logs p and sends it to the clients. It fails only after Close.
func (o *output) Write(p []byte) (int, error) {
	select {
	case <-o.done:
		return 0, os.ErrClosed
	default:
	}
	_, _ = o.log.Write(p)
	o.s.mu.Lock()
	clients := slices.Clone(o.s.clients)
	o.s.mu.Unlock()
	var framed []byte
	for _, c := range clients {
		if o.stderr && c.stderr || !o.stderr && c.stdout {
			if framed == nil {
				framed = frame(o.id, p)
			}
			c.send(framed)
		}
	}
	return len(p), nil
}

// Close ends the stream. When all of a process's have ended, clients know.
func (o *output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	o.closed = true
	close(o.done)
	_ = o.log.Close()
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if o.s.open--; o.s.open == 0 {
		o.s.end()
	}
	return nil
}

// finish ends the stream after what is still to come, or after a while. The
// process has ended.
func (o *output) finish() {
	o.mu.Lock()
	taken, w := o.taken, o.w
	o.w = nil
	o.mu.Unlock()
	if w != nil {
		_ = w.Close()
	}
	if !o.s.opts.direct {
		_ = o.r.SetReadDeadline(time.Now().Add(drainTimeout))
		<-o.done
		return
	}
	if taken {
		select {
		case <-o.done:
		case <-time.After(drainTimeout):
		}
	}
	_ = o.Close()
}
