package dockerapi

import (
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// watchPeer calls gone when the peer of a Unix socket has closed it, until the
// result is closed. A read cannot tell: it ends likewise for a peer that has
// merely no more input and waits for output. Nil: the connection is of another
// kind, and nothing watches it.
func watchPeer(conn net.Conn, gone func()) io.Closer {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return nil
	}
	// A file of its own: reads of the connection do not wait for it.
	f, err := socket.File()
	if err != nil {
		return nil
	}
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil
	}
	go func() {
		hungUp := false
		_ = raw.Read(func(fd uintptr) bool { // again at each change, until it is closed
			p := []unix.PollFd{{Fd: int32(fd)}}
			err := error(unix.EINTR)
			for err == unix.EINTR { // by the runtime's own signals
				_, err = unix.Poll(p, 0)
			}
			hungUp = err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
			return hungUp
		})
		if hungUp {
			gone()
		}
	}()
	return f
}
