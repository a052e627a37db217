package rootfs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
)

// ClientConn is a connection to a server.
type ClientConn interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// Client makes one request over a connection, which it owns and closes when its
// method, or the reader that that returns, is done with.
type Client struct{ conn ClientConn }

// NewClient takes a connection over.
func NewClient(conn ClientConn) *Client { return &Client{conn} }

// bind ends what is under way on the connection when ctx ends.
func (c *Client) bind(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
}

// ask sends a request and reads the first reply.
func (c *Client) ask(req Request) (*bufio.Reader, reply, error) {
	var first reply
	req.Version = Version
	if err := writeLine(c.conn, req); err != nil {
		return nil, first, err
	}
	in := bufio.NewReaderSize(c.conn, maxFrame)
	if err := readLine(in, &first); err != nil {
		return nil, first, fmt.Errorf("reading the answer: %w", err)
	}
	return in, first, first.err()
}

// Stat describes a file.
func (c *Client) Stat(ctx context.Context, name string) (*Stat, error) {
	defer c.conn.Close()
	defer c.bind(ctx)()
	_, first, err := c.ask(Request{Op: OpStat, Path: name})
	if err == nil {
		err = first.described(name)
	}
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	return first.Stat, nil
}

// Read makes a request that is answered by bytes. The reader gives io.EOF only
// if they were all that there are. A Stat comes with OpPack.
func (c *Client) Read(ctx context.Context, req Request) (io.ReadCloser, *Stat, error) {
	stop := c.bind(ctx)
	in, first, err := c.ask(req)
	if err == nil && req.Op == OpPack {
		err = first.described(req.Path)
	}
	if err != nil {
		stop()
		c.conn.Close()
		return nil, nil, c.failed(ctx, err)
	}
	return &reader{c: c, ctx: ctx, stop: stop, in: in, frames: frameReader{r: in}}, first.Stat, nil
}

// reader is a stream and the reply that ends it.
type reader struct {
	c      *Client
	ctx    context.Context
	stop   func() bool
	in     *bufio.Reader
	frames frameReader
	err    error
}

func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.frames.Read(p)
	if errors.Is(err, io.EOF) {
		var last reply
		if err = readLine(r.in, &last); err == nil {
			err = last.err()
		}
		if err == nil {
			err = io.EOF
		}
	}
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = r.c.failed(r.ctx, err)
		}
		r.err = err
	}
	return n, r.err
}

// Close ends the request, whether all was read or not.
func (r *reader) Close() error {
	r.stop()
	return r.c.conn.Close()
}

// Changes calls each for every change, in the order of the paths. No more than
// limit bytes of them are read.
func (c *Client) Changes(ctx context.Context, ignore []string, limit int64, each func(Change)) error {
	r, _, err := c.Read(ctx, Request{Op: OpChanges, Ignore: ignore})
	if err != nil {
		return err
	}
	defer r.Close()
	bounded := &io.LimitedReader{R: r, N: limit}
	for in := json.NewDecoder(bounded); ; {
		var change Change
		err := in.Decode(&change)
		switch {
		case errors.Is(err, io.EOF) && bounded.N > 0:
			return nil
		case bounded.N <= 0:
			return fmt.Errorf("the list of changes is longer than %d bytes: %w", limit, errdefs.ErrOutOfRange)
		case err != nil:
			return err
		}
		each(change)
	}
}

// Unpack sends an archive.
func (c *Client) Unpack(ctx context.Context, req Request, archive io.Reader) error {
	defer c.conn.Close()
	defer c.bind(ctx)()
	req.Op, req.Version = OpUnpack, Version
	if err := writeLine(c.conn, req); err != nil {
		return c.failed(ctx, err)
	}
	broken := make(chan error, 1) // of the archive's reader
	go c.send(archive, broken)
	var last reply
	err := readLine(bufio.NewReaderSize(c.conn, 4<<10), &last)
	if err == nil {
		return last.err() // send ends with the connection
	}
	select {
	case sendErr := <-broken:
		return c.failed(ctx, sendErr)
	default:
	}
	return c.failed(ctx, fmt.Errorf("reading the answer: %w", err))
}

// send sends the archive's stream. One that cannot be read to its end is cut
// off, which the other side takes for what it is, and its error told.
func (c *Client) send(archive io.Reader, broken chan<- error) {
	w := newFrameWriter(c.conn)
	from := &archiveReader{Reader: archive}
	_, err := io.CopyBuffer(w, from, make([]byte, copySize))
	switch {
	case from.err != nil:
		broken <- from.err
		_ = c.conn.Close()
	case err == nil:
		_ = w.end() // the answer tells of an error
	}
}

// archiveReader remembers an error of reading.
type archiveReader struct {
	io.Reader
	err error
}

func (r *archiveReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// failed says why a request failed: because its maker has gone, or by err.
func (c *Client) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
