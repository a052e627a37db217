package vm

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"bothy/internal/shimapi"
	"bothy/internal/vm/link"
)

// Streams opens the standard streams of processes by the names that a Create or
// Exec request has for them. It is the executor's interface of that name: what
// feeds a container feeds a machine.
type Streams interface {
	OpenInput(ctx context.Context, name string) (io.ReadCloser, error)
	OpenOutput(ctx context.Context, name string) (io.WriteCloser, error)
}

// headerTimeout bounds the time from a stream's opening to its header.
const headerTimeout = 30 * time.Second

// maxHeaderless bounds the streams whose header has not come yet.
const maxHeaderless = 16

// stdio is the host's end of the standard streams of one process.
type stdio struct {
	outputs sync.WaitGroup // output streams that were announced and have not ended
}

// exchange connects the streams that the guest opens with those of the host. A
// guest may open only what a request has announced, each once.
type exchange struct {
	mu        sync.Mutex // guards what follows
	streams   Streams
	trace     func(at time.Duration, phase string) // nil: nobody asks
	announced map[link.Header]*stdio
	opened    bool // the guest has opened a process's stream
}

// silent says that the guest has opened no process's stream.
func (x *exchange) silent() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.opened
}

// setStreams changes what streams opened from now on connect to.
func (x *exchange) setStreams(s Streams, trace func(at time.Duration, phase string)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.streams, x.trace = s, trace
}

func (x *exchange) hostTrace() func(at time.Duration, phase string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.trace
}

func (x *exchange) hostStreams() Streams {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.streams
}

// announce allows the guest to open the streams of a process.
func (x *exchange) announce(stdin, stdout, stderr string) *stdio {
	s := &stdio{}
	x.mu.Lock()
	defer x.mu.Unlock()
	add := func(kind link.Kind, name string) {
		h := link.Header{Kind: kind, Name: name}
		if _, twice := x.announced[h]; name == "" || twice {
			return
		}
		if kind == link.Output {
			s.outputs.Add(1)
		}
		x.announced[h] = s
	}
	add(link.Input, stdin)
	add(link.Output, stdout)
	add(link.Output, stderr)
	return s
}

// withdraw forgets what of s the guest has not opened.
func (x *exchange) withdraw(s *stdio) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for h, owner := range x.announced {
		if owner == s {
			delete(x.announced, h)
			if h.Kind == link.Output {
				s.outputs.Done()
			}
		}
	}
}

// take finds what was announced under h, once.
func (x *exchange) take(h link.Header) (*stdio, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s, ok := x.announced[h]
	delete(x.announced, h)
	x.opened = x.opened || h.Name != shimapi.TraceStream
	return s, ok
}

// accept serves the streams that the guest opens until the session ends.
// violation is called when the guest does what it must not do.
func (x *exchange) accept(session *yamux.Session, violation func(error)) {
	slots := make(chan struct{}, maxHeaderless)
	for {
		slots <- struct{}{}
		stream, err := session.AcceptStream()
		if err != nil {
			return
		}
		go func() {
			h, s, err := x.identify(stream)
			<-slots
			if err != nil {
				violation(err)
				return
			}
			x.serve(h, s, stream)
		}()
	}
}

// identify reads a stream's header and finds what it belongs to.
func (x *exchange) identify(stream *yamux.Stream) (link.Header, *stdio, error) {
	_ = stream.SetReadDeadline(time.Now().Add(headerTimeout))
	h, err := link.ReadHeader(stream)
	if err != nil {
		return h, nil, err
	}
	_ = stream.SetReadDeadline(time.Time{})
	s, ok := x.take(h)
	if !ok {
		return h, nil, fmt.Errorf("it opened the %s stream %.40q, which no request has named", h.Kind, h.Name)
	}
	return h, s, nil
}

// serve copies between a guest's stream and the host's until either ends.
func (x *exchange) serve(h link.Header, s *stdio, stream *yamux.Stream) {
	defer stream.Close()
	if h.Kind == link.Output {
		defer s.outputs.Done()
		x.output(h.Name, stream)
		return
	}
	in, err := x.hostStreams().OpenInput(context.Background(), h.Name)
	if err != nil {
		return // the guest's process sees the end of its input
	}
	go func() { // the guest closes its side when the process needs no more input
		_, _ = io.Copy(io.Discard, stream)
		in.Close()
	}()
	_, _ = io.Copy(stream, in)
}

// output copies a guest's output. What the host's side does not take any more is
// dropped, so that the guest's process never waits for nobody.
func (x *exchange) output(name string, stream io.Reader) {
	if tell := x.hostTrace(); name == shimapi.TraceStream && tell != nil {
		readTrace(stream, tell)
		return
	}
	out, err := x.hostStreams().OpenOutput(context.Background(), name)
	if err == nil {
		_, err = io.Copy(out, stream)
		out.Close()
	}
	if err != nil {
		_, _ = io.Copy(io.Discard, stream)
	}
}
