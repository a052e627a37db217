package shim

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipeSize is how many bytes are read from a pipe at once.
const pipeSize = 32 << 10

// pipeReader reads a pipe. It has no buffer until there is something to read:
// most containers are silent for most of their time.
type pipeReader struct {
	raw syscall.RawConn
	buf []byte
}

func newPipeReader(r *os.File) (*pipeReader, error) {
	raw, err := r.SyscallConn()
	return &pipeReader{raw: raw}, err
}

// read gives the next bytes, valid until the next call, or io.EOF. With wait
// unset it gives none where it would have to wait.
func (p *pipeReader) read(wait bool) ([]byte, error) {
	var (
		n   int
		err error
	)
	waitErr := p.raw.Read(func(fd uintptr) bool {
		if p.buf == nil {
			if !readable(fd) {
				return !wait
			}
			p.buf = make([]byte, pipeSize)
		}
		for {
			n, err = unix.Read(int(fd), p.buf)
			if err != unix.EINTR {
				break
			}
		}
		return err != unix.EAGAIN || !wait
	})
	switch {
	case waitErr != nil:
		return nil, waitErr
	case err == unix.EAGAIN:
		return nil, nil
	case err != nil:
		return nil, err
	case n == 0 && p.buf != nil:
		return nil, io.EOF
	}
	return p.buf[:max(n, 0)], nil
}

// readable says whether a read would not wait.
func readable(fd uintptr) bool { return poll(fd, unix.POLLIN) != 0 }

// poll tells which events have come, of those asked for and of hanging up and
// errors. The runtime's own signals interrupt the call, and mean nothing.
func poll(fd uintptr, events int16) int16 {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		_, err := unix.Poll(fds, 0)
		switch err {
		case nil:
			return fds[0].Revents
		case unix.EINTR:
		default:
			return unix.POLLERR
		}
	}
}

// waitHangUp waits until the other side of a socket is closed, not only its
// writing half, or this one is.
func waitHangUp(conn syscall.Conn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		return poll(fd, 0)&unix.POLLHUP != 0 // hanging up is told unasked
	})
}
