// Package link is the wire between a virtual machine's guest and its host: a
// yamux session over a virtio-serial port. The host opens one stream for the
// task service (ttrpc), and may close it and open another; the guest opens one for each standard stream of a
// process. Each stream begins with a header line that says what it carries.
//
// The guest is not trusted by the host: every length is bounded, and nothing
// that a guest sends makes the host keep more than a fixed amount of memory.
// The package knows nothing of tasks, processes or QEMU.
package link

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/yamux"
)

// PortName is the name of the virtio-serial port that carries the link.
const PortName = "bothy"

// What the task stream serves beside containerd's task service: GuestService has
// the method OOMKilled, which takes a StateRequest and returns a BoolValue. It
// asks whether the kernel killed for want of memory, for a fraction of what the
// task service's statistics cost.
//
// RestMethod takes and returns an Empty: the guest gets ready to wait for its
// container, or to be kept as a template. What the caller runs after it is
// forgotten by the next call.
const (
	GuestService    = "bothy.v1.Guest"
	OOMKilledMethod = "OOMKilled"
	RestMethod      = "Rest"
)

// The two lines of the handshake. The guest speaks first: a virtio-serial port
// cannot tell whether somebody has opened its other end, so the host must not
// send before it knows that there is a reader.
const (
	guestHello = "\nbothy-link/1 guest\n"
	hostHello  = "\nbothy-link/1 host\n"
)

// maxStale bounds the bytes in front of a handshake line that are skipped: what
// a former reader of the port left behind.
const maxStale = 4096

// errNoHello is what a handshake ends with when the other side says something
// else.
var errNoHello = errors.New("the other side does not speak bothy's link protocol, version 1")

// Host makes the host's half of a session over conn, waiting for the guest's
// hello. To bound the wait, close conn. On error conn is the caller's still.
func Host(conn io.ReadWriteCloser) (*yamux.Session, error) {
	if err := expect(conn, guestHello); err != nil {
		return nil, fmt.Errorf("waiting for the guest: %w", err)
	}
	if _, err := io.WriteString(conn, hostHello); err != nil {
		return nil, fmt.Errorf("greeting the guest: %w", err)
	}
	return yamux.Client(&guard{ReadWriteCloser: conn}, config(hostWriteTimeout))
}

// Resume makes the host's half of a session with a guest that another host has
// greeted, and left when all streams were closed: the guest does not see the
// difference.
func Resume(conn io.ReadWriteCloser) (*yamux.Session, error) {
	return yamux.Client(&guard{ReadWriteCloser: conn}, config(hostWriteTimeout))
}

// Guest makes the guest's half of a session over conn.
func Guest(conn io.ReadWriteCloser) (*yamux.Session, error) {
	if _, err := io.WriteString(conn, guestHello); err != nil {
		return nil, fmt.Errorf("greeting the host: %w", err)
	}
	if err := expect(conn, hostHello); err != nil {
		return nil, fmt.Errorf("waiting for the host: %w", err)
	}
	return yamux.Server(conn, config(guestWriteTimeout))
}

// expect reads from r until line has been read. It takes one byte at a time, so
// that nothing after the line is consumed.
func expect(r io.Reader, line string) error {
	seen := make([]byte, 0, maxStale+len(line))
	var b [1]byte
	for len(seen) < cap(seen) {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
		seen = append(seen, b[0])
		if bytes.HasSuffix(seen, []byte(line)) {
			return nil
		}
	}
	return errNoHello
}

// How long a write may find no room before the session counts as broken. The
// guest's is long: a host that was stopped for a while is no reason to end.
const (
	hostWriteTimeout  = time.Minute
	guestWriteTimeout = 24 * time.Hour
)

// config bounds a session. There are no keep-alives: that the machine is gone
// shows in its socket, and one that is slow or stopped is not gone.
func config(writeTimeout time.Duration) *yamux.Config {
	c := yamux.DefaultConfig()
	c.AcceptBacklog = 64
	c.EnableKeepAlive = false
	c.ConnectionWriteTimeout = writeTimeout
	c.MaxStreamWindowSize = 256 << 10
	c.StreamOpenTimeout = 0
	c.StreamCloseTimeout = 0
	c.LogOutput = io.Discard
	return c
}
