package shim

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bothy/internal/logfile"
)

// pair gives both ends of a connection.
func pair(t *testing.T) (shim, peer *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	shim, err = l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shim.Close(); _ = peer.Close() })
	return shim, peer
}

// join attaches a client to a process's output and takes the response away.
func join(t *testing.T, s *stdio) *net.UnixConn {
	t.Helper()
	conn, peer := pair(t)
	c := newClient(conn, []byte("\n"))
	c.stdout, c.stderr = true, true
	s.attach(c)
	go c.run()
	if _, err := io.ReadFull(peer, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return peer
}

// streamsOf makes a process's streams and gives the process's ends.
func streamsOf(t *testing.T, opts stdioOptions) (s *stdio, in *os.File, out io.WriteCloser) {
	t.Helper()
	s, err := newStdio(opts)
	if err != nil {
		t.Fatal(err)
	}
	if s.in != nil {
		in, _ = s.in.take()
		t.Cleanup(func() { _ = in.Close() })
	}
	if s.out != nil {
		out, _ = s.out.take()
	}
	return s, in, out
}

func newLog(t *testing.T) (*logfile.Writer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.log")
	w, err := logfile.Create(path, logfile.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return w, path
}

// within fails if f takes long.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s takes too long", what)
	}
}

// fill writes until the writer is held back, and gives a channel that is
// closed when all of it was taken.
func fill(out io.Writer) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		block := bytes.Repeat([]byte("0123456789abcde\n"), 4096)
		for range 8 * maxQueue / len(block) {
			if _, err := out.Write(block); err != nil {
				return
			}
		}
	}()
	return done
}

// held waits until queue is as full as it gets.
func held(t *testing.T, s *stdio) *client {
	t.Helper()
	c := s.remaining()[0]
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		waiting := c.waiting
		c.mu.Unlock()
		if waiting > maxQueue-2*pipeSize {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("only %d bytes are queued", waiting)
		}
	}
}

func TestSlowClientHoldsOutputBack(t *testing.T) {
	t.Parallel()
	for _, direct := range []bool{false, true} {
		s, _, out := streamsOf(t, stdioOptions{stdout: true, tty: true, direct: direct})
		peer := join(t, s)
		done := fill(out)
		held(t, s)
		select {
		case <-done:
			t.Error("all output was taken though nobody reads it")
		default:
		}
		go func() { <-done; _ = out.Close() }()
		within(t, "reading it late", func() {
			got, err := io.ReadAll(peer)
			if err != nil || len(got) != 8*maxQueue {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
		s.finish()
	}
}

func TestVanishedClientHoldsNobody(t *testing.T) {
	t.Parallel()
	s, _, out := streamsOf(t, stdioOptions{stdout: true})
	peer := join(t, s)
	done := fill(out)
	held(t, s)
	_ = peer.Close()
	within(t, "output without the client", func() { <-done })
	_ = out.Close()
	s.finish()
}

func TestEndedProcessIsNotHeldBack(t *testing.T) {
	t.Parallel()
	log, path := newLog(t)
	s, _, out := streamsOf(t, stdioOptions{stdout: true, direct: true, log: log})
	peer := join(t, s)
	done := fill(out)
	held(t, s)
	go func() { <-done; _ = out.Close() }()
	within(t, "finishing", s.finish) // while the client reads nothing
	r, err := logfile.Open(path, logfile.ReadOptions{Stdout: true, Tail: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lines := 0
	for {
		if _, err := r.Next(t.Context()); err != nil {
			break
		}
		lines++
	}
	if want := 8 * maxQueue / 16; lines != want {
		t.Errorf("%d lines in the log, want %d", lines, want)
	}
	within(t, "the client's rest", func() { _, _ = io.Copy(io.Discard, peer) })
}

func TestOutputHeldByAnother(t *testing.T) {
	t.Parallel()
	s, _, out := streamsOf(t, stdioOptions{stdout: true})
	peer := join(t, s)
	if _, err := io.WriteString(out, "text"); err != nil {
		t.Fatal(err)
	}
	within(t, "finishing", s.finish) // out stays open
	got, err := io.ReadAll(peer)
	if err != nil || string(got) != "\x01\x00\x00\x00\x00\x00\x00\x04text" {
		t.Errorf("%q, %v", got, err)
	}
	_ = out.Close()
}

func TestStdin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		opts   stdioOptions
		closed bool
	}{
		{"once", stdioOptions{stdin: true, once: true}, true},
		{"open", stdioOptions{stdin: true}, false},
		{"once, terminal", stdioOptions{stdin: true, once: true, tty: true}, false},
	} {
		s, in, _ := streamsOf(t, c.opts)
		s.feed(strings.NewReader("one"))
		s.feed(strings.NewReader("two"))
		if !c.closed {
			s.in.close()
		}
		got, err := io.ReadAll(in)
		want := "onetwo"
		if c.closed {
			want = "one"
		}
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		s.finish()
	}
}

// TestFinishFreesFeeders ends a process that never read its stdin.
func TestFinishFreesFeeders(t *testing.T) {
	t.Parallel()
	s, in, _ := streamsOf(t, stdioOptions{stdin: true})
	fed := make(chan struct{})
	go func() { defer close(fed); s.feed(bytes.NewReader(make([]byte, 1<<20))) }()
	if _, err := io.ReadFull(in, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	s.finish()
	within(t, "feeding a process that has ended", func() { <-fed })
}

func TestLateClientIsClosed(t *testing.T) {
	t.Parallel()
	s, _, out := streamsOf(t, stdioOptions{stdout: true})
	_ = out.Close()
	s.finish()
	peer := join(t, s)
	if got, err := io.ReadAll(peer); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestStreamsAreTakenOnce(t *testing.T) {
	t.Parallel()
	s, _, out := streamsOf(t, stdioOptions{stdout: true, stdin: true})
	if _, ok := s.out.take(); ok {
		t.Error("stdout was given twice")
	}
	if _, ok := s.in.take(); ok {
		t.Error("stdin was given twice")
	}
	_ = out.Close()
	s.finish()
}
