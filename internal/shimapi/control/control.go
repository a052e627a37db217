// Package control carries the messages of a shim whose machine waits for a
// container, with the files that go along. It knows neither what they mean to
// the engine nor to the shim.
package control

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"bothy/internal/shimapi"
)

// maxFiles bounds the files that come with one message.
const maxFiles = 2

// Conn is one end of a control socket. One goroutine at a time may send, and one
// receive.
type Conn struct{ conn *net.UnixConn }

// Pair makes a control socket: this process's end, and the file that is to be
// the other process's.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a control socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	c, err := Open(ours)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return c, theirs, nil
}

// Open takes over the end of a control socket that a process was started with;
// the file is closed.
func Open(file *os.File) (*Conn, error) {
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("opening a control socket: %w", err)
	}
	c, ok := conn.(*net.UnixConn)
	if !ok || c.LocalAddr().Network() != "unixpacket" {
		_ = conn.Close()
		return nil, errors.New("opening a control socket: the descriptor is something else")
	}
	return &Conn{c}, nil
}

// Send sends a message with its files, which stay the caller's.
func (c *Conn) Send(m shimapi.PoolMessage, files ...*os.File) error {
	data, err := shimapi.EncodePoolMessage(m)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := c.conn.WriteMsgUnix(data, rights, nil); err != nil {
		return fmt.Errorf("sending a message of the pool: %w", err)
	}
	return nil
}

// Receive waits for the next message and its files, which are the caller's to
// close. The error is io.EOF when the other end has been closed.
func (c *Conn) Receive() (shimapi.PoolMessage, []*os.File, error) {
	data := make([]byte, shimapi.MaxPoolMessage+1)
	rights := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, flags, _, err := c.conn.ReadMsgUnix(data, rights)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			err = io.EOF
		}
		return shimapi.PoolMessage{}, nil, err
	}
	files, err := received(rights[:oobn])
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("receiving a message of the pool: it is longer, or has more files, than any of them")
	}
	var m shimapi.PoolMessage
	if err == nil {
		m, err = shimapi.ParsePoolMessage(data[:n])
	}
	if err != nil {
		for _, f := range files {
			_ = f.Close()
		}
		return m, nil, err
	}
	return m, files, nil
}

// received gives the files that came along.
func received(rights []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, fmt.Errorf("receiving files: %w", err)
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // credentials, which nobody asked for
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// Close closes this end, which the other one sees as the end.
func (c *Conn) Close() error { return c.conn.Close() }
