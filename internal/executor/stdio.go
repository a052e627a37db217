package executor

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Streams opens the stdio of processes by the names that a Create or Exec
// request has in Stdin, Stdout and Stderr. An empty name is never opened: it
// stands for /dev/null.
//
// A value that is an *os.File is given to the process itself, and is closed
// here as soon as the process has it. Everything else is copied to or from a
// pipe: output is closed after the process's last byte, input when the process
// ends or on CloseIO.
type Streams interface {
	OpenInput(ctx context.Context, name string) (io.ReadCloser, error)
	OpenOutput(ctx context.Context, name string) (io.WriteCloser, error)
}

// drainTimeout bounds the wait for the end of output after a process's exit:
// it passes only if another process keeps the output open.
const drainTimeout = 2 * time.Second

// drainLimit bounds, in bytes, what is still taken from such an output.
const drainLimit = 1 << 20

// names are a process's streams as its request names them.
type names struct {
	stdin, stdout, stderr string
	terminal              bool
}

// stdio is both ends of a process's stdio.
type stdio struct {
	child  [3]*os.File // the process's ends; nil with a terminal
	input  io.ReadCloser
	feed   *os.File         // where input goes: a pipe; with a terminal nil until it is there
	output []*pump          // from the process to its streams
	sinks  []io.WriteCloser // with a terminal: the one stdout stream, until there is a terminal

	tty *console // nil without a terminal
	wg  sync.WaitGroup
}

// pump copies from src, which the process writes to, to dst.
type pump struct {
	src *os.File
	dst io.WriteCloser
}

// openStdio opens the streams and makes the process's ends.
func openStdio(ctx context.Context, s Streams, n names) (_ *stdio, err error) {
	st := &stdio{}
	defer func() {
		if err != nil {
			st.abandon()
		}
	}()
	if n.terminal {
		return st, st.openTerminal(ctx, s, n)
	}
	if err := st.openIn(ctx, s, n.stdin); err != nil {
		return st, err
	}
	for i, name := range []string{n.stdout, n.stderr} {
		if err := st.openOut(ctx, s, 1+i, name); err != nil {
			return st, err
		}
	}
	return st, nil
}

func (st *stdio) openIn(ctx context.Context, s Streams, name string) error {
	if name == "" {
		return st.null(0, os.O_RDONLY)
	}
	in, err := s.OpenInput(ctx, name)
	if err != nil {
		return wrap(err, "opening stdin %s", name)
	}
	if f, ok := in.(*os.File); ok {
		st.child[0] = f
		return nil
	}
	st.input = in
	st.child[0], st.feed, err = os.Pipe()
	return wrap(err, "making a pipe for stdin")
}

func (st *stdio) openOut(ctx context.Context, s Streams, fd int, name string) error {
	if name == "" {
		return st.null(fd, os.O_WRONLY)
	}
	out, err := s.OpenOutput(ctx, name)
	if err != nil {
		return wrap(err, "opening output %s", name)
	}
	if f, ok := out.(*os.File); ok {
		st.child[fd] = f
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		out.Close()
		return wrap(err, "making a pipe for output")
	}
	st.child[fd] = w
	st.output = append(st.output, &pump{src: r, dst: out})
	return nil
}

func (st *stdio) null(fd, flag int) (err error) {
	st.child[fd], err = os.OpenFile(os.DevNull, flag, 0)
	return wrap(err, "opening stdio")
}

func (st *stdio) openTerminal(ctx context.Context, s Streams, n names) (err error) {
	if n.stdin != "" {
		if st.input, err = s.OpenInput(ctx, n.stdin); err != nil {
			return wrap(err, "opening stdin %s", n.stdin)
		}
	}
	if n.stdout != "" {
		out, err := s.OpenOutput(ctx, n.stdout)
		if err != nil {
			return wrap(err, "opening output %s", n.stdout)
		}
		st.sinks = append(st.sinks, out)
	}
	st.tty, err = newConsole()
	return err
}

// started is called once the process has its ends: it closes them here and
// begins to copy.
func (st *stdio) started() error {
	st.closeChild()
	if st.tty != nil {
		if err := st.attachTerminal(); err != nil {
			return err
		}
	}
	for _, p := range st.output {
		st.wg.Go(p.run)
	}
	if st.input != nil {
		go st.pumpInput()
	}
	return nil
}

// attachTerminal takes the terminal that the process has made.
func (st *stdio) attachTerminal() error {
	if err := st.tty.receive(); err != nil {
		return err
	}
	var dst io.WriteCloser = discard{}
	if len(st.sinks) > 0 {
		dst = st.sinks[0]
	}
	st.sinks = nil
	st.output = append(st.output, &pump{src: st.tty.master, dst: dst})
	return nil
}

// discard takes the output of a terminal that nobody wants.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Close() error                { return nil }

// run copies until the process's side is closed. If the stream doesn't take
// any more, the rest is read and dropped, so that the process never blocks.
func (p *pump) run() {
	defer p.dst.Close()
	_, err := io.Copy(p.dst, p.src)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.rest()
	case err != nil && !errors.Is(err, unix.EIO): // EIO: the terminal has no other end any more
		_, _ = io.Copy(io.Discard, p.src)
	}
}

// rest takes what lies in the pipe at the deadline, without waiting for more.
func (p *pump) rest() {
	_ = p.src.SetReadDeadline(time.Time{})
	raw, err := p.src.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 32<<10)
	for taken := 0; taken < drainLimit; {
		n := 0
		_ = raw.Read(func(fd uintptr) bool {
			n, _ = unix.Read(int(fd), buf)
			return true
		})
		if n <= 0 {
			return
		}
		if _, err := p.dst.Write(buf[:n]); err != nil {
			return
		}
		taken += n
	}
}

// pumpInput feeds the process. At the input's end a pipe is closed, a terminal
// stays: the end of a terminal's input is a key.
func (st *stdio) pumpInput() {
	if st.tty != nil {
		_, _ = io.Copy(st.tty.master, st.input)
		return
	}
	_, _ = io.Copy(st.feed, st.input)
	_ = st.feed.Close()
}

// closeInput ends the process's stdin at once: what the stream has not yet
// delivered is lost. A stream that ends by itself needs no closing.
func (st *stdio) closeInput() {
	if st.input != nil {
		_ = st.input.Close()
	}
	if st.feed != nil {
		_ = st.feed.Close()
	}
}

// drain waits until all output is written to the streams, and closes the rest.
// It is called when the process has ended. Where a stream takes nothing, it
// does not wait for ever: what is left follows if the stream goes on.
func (st *stdio) drain() {
	st.closeInput()
	done := make(chan struct{})
	go func() {
		st.wg.Wait()
		for _, p := range st.output {
			_ = p.src.Close()
		}
		close(done)
	}()
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	}
	for _, p := range st.output {
		_ = p.src.SetReadDeadline(time.Unix(1, 0))
	}
	timer.Reset(drainTimeout)
	select {
	case <-done:
	case <-timer.C:
	}
}

// abandon closes everything of a process that never started.
func (st *stdio) abandon() {
	st.closeChild()
	st.closeInput()
	for _, p := range st.output {
		_ = p.src.Close()
		_ = p.dst.Close()
	}
	for _, s := range st.sinks {
		_ = s.Close()
	}
	if st.tty != nil {
		st.tty.close()
	}
}

func (st *stdio) closeChild() {
	for i, f := range st.child {
		if f != nil {
			_ = f.Close()
			st.child[i] = nil
		}
	}
}
