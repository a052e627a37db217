package executor

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// console is a process's terminal. The process makes the pseudo terminal inside
// its own /dev/pts and sends the controlling side over a socket.
type console struct {
	ours   *os.File // our end of the socket
	theirs *os.File // the process's end

	mu     sync.Mutex
	master *os.File // the controlling side; nil until received
}

func newConsole() (*console, error) {
	fds, err := unix.Socketpair(unix.AF_LOCAL, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, wrap(os.NewSyscallError("socketpair", err), "making a terminal")
	}
	return &console{ours: os.NewFile(uintptr(fds[0]), "console-ours"), theirs: os.NewFile(uintptr(fds[1]), "console-theirs")}, nil
}

// receive takes the controlling side. The process has sent it by the time that
// libcontainer says it is there; if it ended before, there is nothing.
func (c *console) receive() error {
	defer c.closeSocket()
	_ = c.theirs.Close() // else a process without a terminal would be waited for
	f, err := receiveFile(c.ours)
	if err != nil {
		return wrap(err, "receiving the terminal")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.master = f
	return nil
}

// receiveFile takes one file off a socket; it is in non-blocking mode, so that
// reading it can be ended by a deadline.
func receiveFile(socket *os.File) (*os.File, error) {
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(int(socket.Fd()), name, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, os.NewSyscallError("parse control message", err)
	}
	if len(messages) != 1 {
		return nil, errors.New("the process sent no terminal")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("expected one file, got %d: %w", len(fds), err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		_ = unix.Close(fds[0])
		return nil, os.NewSyscallError("set non-blocking", err)
	}
	return os.NewFile(uintptr(fds[0]), string(name[:n])), nil
}

// resize sets the terminal's size in characters.
func (c *console) resize(width, height uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.master == nil {
		return errors.New("there is no terminal yet")
	}
	raw, err := c.master.SyscallConn()
	if err != nil {
		return err
	}
	size := &unix.Winsize{Col: uint16(min(width, 0xffff)), Row: uint16(min(height, 0xffff))}
	var ioctlErr error
	if err := raw.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size)
	}); err != nil {
		return err
	}
	return os.NewSyscallError("ioctl TIOCSWINSZ", ioctlErr)
}

func (c *console) closeSocket() {
	_ = c.ours.Close()
	_ = c.theirs.Close()
}

func (c *console) close() {
	c.closeSocket()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.master != nil {
		_ = c.master.Close()
	}
}
