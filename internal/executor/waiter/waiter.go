// Package waiter is a process that stands where a container's command will run,
// with all that was made around it, and waits to be told which command that is.
//
// It is the executor's own program, executed by libcontainer in a container's
// last step in place of the command: a few lines of C that become the container's
// user, look for the command and execute it. From there on nothing is left of
// it. It does what libcontainer's first process does in between, in the same
// order and with the same results; the rest of a container was made before.
//
// It knows nothing of containers, mounts or limits.
package waiter

// #include "waiter.h"
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the wait for a waiter, which has little to do.
const (
	readyTimeout = 30 * time.Second
	orderTimeout = 30 * time.Second
)

// Args are the arguments with which a container's first process becomes a
// waiter: program and socket are descriptors that it is started with. The
// program is this one, the socket New's.
func Args(program, socket int) []string {
	return []string{"/proc/self/fd/" + strconv.Itoa(program), C.WAITER_ARG, strconv.Itoa(socket)}
}

// Waiter is this process's end of one. Its methods are not to be called at the
// same time.
type Waiter struct{ socket *os.File }

// New makes both ends of a waiter's socket. The other one is for the process,
// and to be closed once that is started.
func New() (*Waiter, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	other := os.NewFile(uintptr(fds[1]), "waiter")
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		other.Close()
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return &Waiter{os.NewFile(uintptr(fds[0]), "waiter")}, other, nil
}

// Close closes the socket. A waiter that waits ends.
func (w *Waiter) Close() error { return w.socket.Close() }

// Ready returns when the process has become a waiter.
func (w *Waiter) Ready() error {
	var letter [1]byte
	if err := w.read(letter[:], readyTimeout); err != nil {
		return fmt.Errorf("waiting for the process: %w", err)
	}
	if letter[0] != C.WAITER_READY {
		return fmt.Errorf("the process said %q", letter[0])
	}
	return nil
}

// Order is the command.
type Order struct {
	UID, GID uint32
	Groups   []uint32
	Cwd      string
	Paths    []string // of the program, to be tried in this order; at least one
	Args     []string // at least one
	Env      []string
}

// Failure is why a waiter cannot do as it was told. It has ended.
type Failure struct {
	Stage Stage
	Path  int // which of the paths it was about
	Err   unix.Errno
}

// Stage is what failed.
type Stage uint32

// The stages, in their order.
const (
	StageOrder        = Stage(C.STAGE_ORDER)        // reading the order
	StageStdio        = Stage(C.STAGE_STDIO)        // taking over the standard streams
	StageCwd          = Stage(C.STAGE_CWD)          // entering the working directory
	StageCwdOutside   = Stage(C.STAGE_CWD_OUTSIDE)  // it is not inside the root
	StageGroups       = Stage(C.STAGE_GROUPS)       // taking the user's groups,
	StageGID          = Stage(C.STAGE_GID)          // group
	StageUID          = Stage(C.STAGE_UID)          // and number
	StageCapabilities = Stage(C.STAGE_CAPABILITIES) // keeping the capabilities
	StageStat         = Stage(C.STAGE_STAT)         // looking at a program
	StageAccess       = Stage(C.STAGE_ACCESS)       // whether it may be executed
)

func (f *Failure) Error() string { return fmt.Sprintf("stage %d: %v", f.Stage, f.Err) }
func (f *Failure) Unwrap() error { return f.Err }

// Give tells a waiter that is ready what its command is and gives it standard
// streams. It returns which of the paths the program is, or a *Failure, when
// the waiter is about to execute it.
func (w *Waiter) Give(o Order, stdio [3]*os.File) (path int, err error) {
	head, body := o.encode()
	if err := w.send(head, stdio); err != nil {
		return 0, fmt.Errorf("giving a waiting process its command: %w", err)
	}
	if _, err := w.socket.Write(body); err != nil {
		return 0, fmt.Errorf("giving a waiting process its command: %w", err)
	}
	answer := make([]byte, 12)
	if err := w.read(answer, orderTimeout); err != nil {
		return 0, fmt.Errorf("waiting for a process to take its command: %w", err)
	}
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(answer[4*i:]) }
	stage, index := Stage(word(0)), int(word(2))
	if index >= len(o.Paths) {
		return 0, fmt.Errorf("a waiting process found path %d of %d", index, len(o.Paths))
	}
	if stage != C.STAGE_NONE {
		return 0, &Failure{Stage: stage, Path: index, Err: unix.Errno(word(1))}
	}
	return index, nil
}

// encode gives the header, which the descriptors go with, and what follows it.
func (o Order) encode() (head, body []byte) {
	for _, g := range o.Groups {
		body = binary.NativeEndian.AppendUint32(body, g)
	}
	for _, list := range [][]string{{o.Cwd}, o.Paths, o.Args, o.Env} {
		for _, s := range list {
			body = append(append(body, s...), 0)
		}
	}
	const rest = C.sizeof_struct_order - 4 // of the header, behind the size
	for _, n := range []uint32{
		uint32(rest + len(body)), o.UID, o.GID,
		uint32(len(o.Groups)), uint32(len(o.Paths)), uint32(len(o.Args)), uint32(len(o.Env)),
	} {
		head = binary.NativeEndian.AppendUint32(head, n)
	}
	return head, body
}

// send sends bytes with descriptors. The socket's buffer is empty and has room.
func (w *Waiter) send(head []byte, stdio [3]*os.File) error {
	raw, err := w.socket.SyscallConn()
	if err != nil {
		return err
	}
	rights := unix.UnixRights(int(stdio[0].Fd()), int(stdio[1].Fd()), int(stdio[2].Fd()))
	var n int
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		n, sent = unix.SendmsgN(int(fd), head, rights, nil, unix.MSG_NOSIGNAL)
		return sent != unix.EAGAIN
	})
	if err := errors.Join(err, os.NewSyscallError("sendmsg", sent)); err != nil {
		return err
	}
	if n != len(head) {
		return io.ErrShortWrite
	}
	return nil
}

// read fills p.
func (w *Waiter) read(p []byte, timeout time.Duration) error {
	if err := w.socket.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := io.ReadFull(w.socket, p)
	return err
}

// Go lets the waiter execute its command and closes the socket.
func (w *Waiter) Go() error {
	_, err := w.socket.Write([]byte{C.WAITER_GO})
	return errors.Join(err, w.Close())
}
