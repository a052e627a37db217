package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/term"

	"bothy/internal/engineapi"
	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
)

// defaultDetachKeys are docker's: ctrl-p, ctrl-q.
var defaultDetachKeys = []byte{16, 17}

// pendingAttach is a client that attached to a container before it started.
type pendingAttach struct {
	req   shimapi.AttachRequest
	ready chan attached // room for the one value it gets
}

// attached is a shim's end of an attached client; conn is nil if there will be
// none.
type attached struct {
	conn shimclient.Conn
	err  error
}

// AttachContainer joins a client to the container's streams and returns when
// either side has ended; ctx ends when the client has gone. A container that
// does not run yet is waited for.
func (s *Containers) AttachContainer(ctx context.Context, ref string, req engineapi.AttachRequest) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	keys, err := detachKeys(req.DetachKeys)
	if err != nil {
		return err
	}
	if err := c.check(opAttach); err != nil {
		return err
	}
	rec, _ := c.snapshot()

	var past engineapi.Logs
	if req.Logs {
		past, err = s.ContainerLogs(ctx, ref, engineapi.LogsRequest{Stdout: req.Stdout, Stderr: req.Stderr, Tail: -1})
		if err != nil {
			return err
		}
		defer past.Close()
	}
	var live *pendingAttach
	if req.Stream {
		live, err = c.join(ctx, shimapi.AttachRequest{Stdin: req.Stdin && rec.Config.OpenStdin, Stdout: req.Stdout, Stderr: req.Stderr})
		if err != nil {
			return err
		}
		defer c.leave(live)
	}
	conn, err := req.Open(rec.Config.Tty)
	if err != nil {
		return err
	}
	defer conn.Close()
	s.emit(events.ActionAttach, rec)
	if past != nil {
		if err := copyLog(ctx, conn, past, past.TTY() || req.Raw); err != nil {
			return fmt.Errorf("sending the log of container %s: %w", rec.Name, err)
		}
	}
	if live == nil {
		return nil
	}
	return s.serve(ctx, conn, live, rec, relayOptions{tty: rec.Config.Tty, keys: keys, output: outputIn(rec.Config.Tty, rec.Config.Tty || req.Raw)})
}

// serve joins a client to its live streams once they are there.
func (s *Containers) serve(ctx context.Context, conn engineapi.Conn, live *pendingAttach, rec record, o relayOptions) error {
	var to attached
	select {
	case to = <-live.ready:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return nil
	}
	if to.conn == nil {
		return to.err
	}
	defer to.conn.Close()
	if detached := relay(ctx, conn, to.conn, o); detached {
		s.emit(events.ActionDetach, rec)
	}
	return nil
}

// join connects to the container's streams, at once if it runs, else when it
// starts.
func (c *ctr) join(ctx context.Context, req shimapi.AttachRequest) (*pendingAttach, error) {
	p := &pendingAttach{req: req, ready: make(chan attached, 1)}
	c.mu.Lock()
	t := c.task
	if c.gone {
		c.mu.Unlock()
		return nil, failure(errdefs.ErrNotFound, "No such container: %s", c.id)
	}
	if t == nil {
		c.pending[p] = struct{}{}
	}
	c.mu.Unlock()
	if t == nil {
		return p, nil
	}
	conn, _, err := t.Attach(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("attaching to container %s: %w", shortID(c.id), err)
	}
	p.ready <- attached{conn: conn}
	return p, nil
}

// leave takes back a join, and closes a connection that nobody took.
func (c *ctr) leave(p *pendingAttach) {
	c.mu.Lock()
	delete(c.pending, p)
	c.mu.Unlock()
	select {
	case a := <-p.ready:
		if a.conn != nil {
			_ = a.conn.Close()
		}
	default:
	}
}

// takePending gives the clients that wait for the start.
func (c *ctr) takePending() []*pendingAttach {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*pendingAttach
	for p := range c.pending {
		all = append(all, p)
	}
	clear(c.pending)
	return all
}

// connectPending connects the clients that wait for the start to the shim t.
// When it returns, each has its connection or its error.
func (c *ctr) connectPending(ctx context.Context, t task) {
	all := c.takePending()
	done := make(chan struct{}, len(all))
	for _, p := range all {
		go func() {
			conn, _, err := t.Attach(ctx, p.req)
			p.ready <- attached{conn, err}
			done <- struct{}{}
		}()
	}
	for range all {
		<-done
	}
}

// dropPending lets go of the clients that wait for a start which will not come.
func (c *ctr) dropPending() {
	for _, p := range c.takePending() {
		p.ready <- attached{}
	}
}

// lingering bounds the wait for a client to see the end and close: closing on
// input that nobody read would show it an error instead of the end.
const lingering = 2 * time.Second

// relayOptions say how a client is joined to streams.
type relayOptions struct {
	tty  bool
	keys []byte // that detach from a terminal
	// output copies the output; see outputIn.
	output func(to io.Writer, from io.Reader) error
	// last is called between the end of output and telling the client of it;
	// nil: nothing is.
	last func()
}

func copyOutput(to io.Writer, from io.Reader) error {
	_, err := io.Copy(to, from)
	return err
}

// relay copies between a client and a shim until the output has ended, ctx
// ends because the client has gone, or it typed the detach keys.
func relay(ctx context.Context, client engineapi.Conn, shim shimclient.Conn, o relayOptions) (detached bool) {
	output, input, escaped := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(output)
		_ = o.output(client, shim)
		if o.last != nil {
			o.last()
		}
		_ = client.CloseWrite()
	}()
	go func() {
		defer close(input)
		if relayInput(client, shim, o.tty, o.keys) {
			close(escaped)
			return
		}
		_, _ = io.Copy(io.Discard, client)
	}()
	select {
	case <-output:
		_ = client.SetReadDeadline(time.Now().Add(lingering))
		<-input
		return false
	case <-escaped:
		return true
	case <-ctx.Done(): // what the client sent before it went is passed on
		_ = client.SetReadDeadline(time.Now().Add(lingering))
		late := time.NewTimer(lingering)
		defer late.Stop()
		select {
		case <-input:
		case <-late.C:
		}
		return false
	}
}

// relayInput copies a client's input and passes its end on; the output goes on
// then. It reports whether the detach keys were typed.
func relayInput(client engineapi.Conn, shim shimclient.Conn, tty bool, keys []byte) (escaped bool) {
	var from io.Reader = client
	if tty {
		from = term.NewEscapeProxy(client, keys)
	}
	_, err := io.Copy(shim, from)
	var escape term.EscapeError
	if errors.As(err, &escape) {
		return true
	}
	_ = shim.CloseWrite()
	return false
}

// copyLog writes a log to an attached client, as the shim would; raw leaves the
// frames out.
func copyLog(ctx context.Context, w io.Writer, from engineapi.Logs, raw bool) error {
	for {
		line, err := from.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		data := line.Data
		if !raw {
			data = frame(line.Stream, data)
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
}

// outputIn gives what copies a process's output, which is raw if it has a
// terminal and framed if not, to a client that takes it raw or framed.
func outputIn(tty, raw bool) func(io.Writer, io.Reader) error {
	switch {
	case tty && !raw:
		return func(to io.Writer, from io.Reader) error {
			_, err := io.Copy(frameWriter{to}, from)
			return err
		}
	case !tty && raw:
		return func(to io.Writer, from io.Reader) error {
			_, err := stdcopy.StdCopy(to, to, from)
			return err
		}
	}
	return copyOutput
}

// frameWriter frames what is written as stdout.
type frameWriter struct{ to io.Writer }

func (w frameWriter) Write(p []byte) (int, error) {
	if _, err := w.to.Write(frame("stdout", p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// frame puts docker's stream header before data.
func frame(stream string, data []byte) []byte {
	kind := byte(1)
	if stream == "stderr" {
		kind = 2
	}
	n := len(data)
	return append([]byte{kind, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, data...)
}
