// Package qmp is a client of QEMU's machine protocol: JSON lines over a stream
// socket. It knows the protocol and no command of it.
//
// See https://www.qemu.org/docs/master/interop/qmp-spec.html.
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxLine bounds one message in bytes. QEMU is not trusted more than its guest.
const maxLine = 1 << 20

// eventBacklog is how many events wait for a reader; later ones are dropped.
const eventBacklog = 32

// Error is QEMU's answer to a command that it did not carry out.
type Error struct {
	Command string
	Class   string // "GenericError", "CommandNotFound", ...
	Desc    string
}

func (e *Error) Error() string {
	return fmt.Sprintf("qmp command %s: %s (%s)", e.Command, e.Desc, e.Class)
}

// Event is something that QEMU tells unasked.
type Event struct {
	Name string          // "SHUTDOWN", "RESET", ...
	Data json.RawMessage // an object, or nil
}

// Client is one connection. Its methods may be called from several goroutines.
type Client struct {
	conn   io.ReadWriteCloser
	events chan Event
	done   chan struct{} // closed once no answer can come any more

	writing sync.Mutex // held for the length of a command's line

	mu      sync.Mutex // guards what follows
	nextID  uint64
	waiting map[uint64]chan message
	err     error // why done is closed
}

// message is the union of what QEMU sends.
type message struct {
	QMP    json.RawMessage `json:"QMP"`
	ID     *uint64         `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// New reads the greeting, leaves the negotiation mode and returns a client that
// owns conn. On error conn is closed. When ctx ends first, so does the
// connection.
func New(ctx context.Context, conn io.ReadWriteCloser) (*Client, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	in := bufio.NewScanner(conn)
	in.Buffer(make([]byte, 0, 4096), maxLine)
	greeting, err := next(in)
	if err == nil && greeting.QMP == nil {
		err = errors.New("the first message is no greeting")
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("waiting for QEMU's greeting: %w", cmpErr(ctx, err))
	}
	c := &Client{conn: conn, events: make(chan Event, eventBacklog), done: make(chan struct{}), waiting: map[uint64]chan message{}}
	go c.read(in)
	if err := c.Run(ctx, "qmp_capabilities", nil, nil); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// cmpErr prefers the context's reason.
func cmpErr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// next reads one message.
func next(in *bufio.Scanner) (message, error) {
	var m message
	if !in.Scan() {
		if in.Err() != nil {
			return m, in.Err()
		}
		return m, io.EOF
	}
	if err := json.Unmarshal(in.Bytes(), &m); err != nil {
		return m, fmt.Errorf("reading a message: %w", err)
	}
	return m, nil
}

// read hands out messages until the connection ends.
func (c *Client) read(in *bufio.Scanner) {
	for {
		m, err := next(in)
		if err != nil {
			c.fail(err)
			return
		}
		switch {
		case m.Event != "":
			select {
			case c.events <- Event{Name: m.Event, Data: m.Data}:
			default: // nobody reads them
			}
		case m.ID != nil:
			c.mu.Lock()
			ch := c.waiting[*m.ID]
			delete(c.waiting, *m.ID)
			c.mu.Unlock()
			if ch != nil {
				ch <- m
			}
		}
	}
}

// fail ends the client for the given reason.
func (c *Client) fail(err error) {
	c.mu.Lock()
	c.err = fmt.Errorf("the connection to QEMU ended: %w", err)
	c.mu.Unlock()
	close(c.done)
	close(c.events)
	c.conn.Close()
}

// Run sends a command and decodes what it returns into result, unless that is
// nil. A refusal is an *Error.
func (c *Client) Run(ctx context.Context, command string, arguments, result any) error {
	return c.run(ctx, command, arguments, result, nil)
}

// RunWithFile is Run for a command that takes an open file, which QEMU gets a
// descriptor of its own for. It needs a connection over a unix socket.
func (c *Client) RunWithFile(ctx context.Context, command string, arguments, result any, file *os.File) error {
	return c.run(ctx, command, arguments, result, file)
}

func (c *Client) run(ctx context.Context, command string, arguments, result any, file *os.File) error {
	answer := make(chan message, 1)
	c.mu.Lock()
	c.nextID++
	id := c.nextID
	c.waiting[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()
	if err := c.send(command, arguments, id, file); err != nil {
		return fmt.Errorf("qmp command %s: %w", command, err)
	}
	select {
	case m := <-answer:
		return decode(command, m, result)
	case <-ctx.Done():
		return fmt.Errorf("qmp command %s: %w", command, context.Cause(ctx))
	case <-c.done:
	}
	select { // the answer may have been the last message
	case m := <-answer:
		return decode(command, m, result)
	default:
		return fmt.Errorf("qmp command %s: %w", command, c.Err())
	}
}

func (c *Client) send(command string, arguments any, id uint64, file *os.File) error {
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, arguments, id})
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	line = append(line, '\n')
	if file != nil {
		n, err := c.sendRights(line, file)
		if err != nil {
			return err
		}
		line = line[n:]
	}
	_, err = c.conn.Write(line)
	return err
}

// sendRights sends the beginning of a line together with an open file.
func (c *Client) sendRights(line []byte, file *os.File) (sent int, err error) {
	socket, ok := c.conn.(syscall.Conn)
	if !ok {
		return 0, errors.New("files can be sent over a unix socket only")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	rights := unix.UnixRights(int(file.Fd()))
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		sent, failed = unix.SendmsgN(int(fd), line, rights, nil, 0)
		return !errors.Is(failed, unix.EAGAIN)
	})
	return sent, errors.Join(err, os.NewSyscallError("sendmsg", failed))
}

func decode(command string, m message, result any) error {
	switch {
	case m.Error != nil:
		return &Error{Command: command, Class: m.Error.Class, Desc: m.Error.Desc}
	case m.Return == nil:
		return fmt.Errorf("qmp command %s: the answer has neither a result nor an error", command)
	case result == nil:
		return nil
	}
	if err := json.Unmarshal(m.Return, result); err != nil {
		return fmt.Errorf("qmp command %s: reading its result: %w", command, err)
	}
	return nil
}

// Events is where events arrive; it is closed when the connection ends. Events
// that nobody takes are dropped once 32 are waiting.
func (c *Client) Events() <-chan Event { return c.events }

// Done is closed when the connection has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is nil as long as the connection lives.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection. It may be called twice.
func (c *Client) Close() error { return c.conn.Close() }
