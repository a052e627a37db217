package vm

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/yamux"

	"bothy/internal/vm/link"
)

// sink takes output and tells when it was closed.
type sink struct {
	strings.Builder
	closed chan string
}

func (s *sink) Close() error { s.closed <- s.String(); return nil }

// fakeStreams has one input and one output.
type fakeStreams struct {
	in  io.ReadCloser
	out *sink
}

func (f fakeStreams) OpenInput(context.Context, string) (io.ReadCloser, error) { return f.in, nil }

func (f fakeStreams) OpenOutput(context.Context, string) (io.WriteCloser, error) { return f.out, nil }

// exchangePair is an exchange and the session of a guest that it serves.
func exchangePair(t *testing.T, s Streams) (x *exchange, guest *yamux.Session, violations chan error) {
	t.Helper()
	a, b := net.Pipe()
	sessions := make(chan *yamux.Session, 1)
	go func() {
		g, _ := link.Guest(b)
		sessions <- g
	}()
	host, err := link.Host(a)
	if err != nil {
		t.Fatal(err)
	}
	guest = <-sessions
	t.Cleanup(func() { host.Close(); guest.Close() })
	x = &exchange{streams: s, announced: map[link.Header]*stdio{}}
	violations = make(chan error, maxHeaderless)
	go x.accept(host, func(err error) { violations <- err })
	return x, guest, violations
}

// openStream is what a guest does.
func openStream(t *testing.T, guest *yamux.Session, header string) net.Conn {
	t.Helper()
	c, err := guest.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, header); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

func TestExchangeCopies(t *testing.T) {
	t.Parallel()
	s := fakeStreams{in: io.NopCloser(strings.NewReader("question")), out: &sink{closed: make(chan string, 1)}}
	x, guest, _ := exchangePair(t, s)
	std := x.announce("in", "out", "")
	in := openStream(t, guest, "input in\n")
	if got, err := io.ReadAll(in); err != nil || string(got) != "question" {
		t.Fatalf("input %q, %v", got, err)
	}
	in.Close()
	out := openStream(t, guest, "output out\nanswer")
	out.Close()
	if got := <-s.out.closed; got != "answer" {
		t.Fatalf("output %q", got)
	}
	std.outputs.Wait()
}

func TestExchangeEndsInputWithTheProcess(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	x, guest, _ := exchangePair(t, fakeStreams{in: r})
	x.announce("in", "", "")
	openStream(t, guest, "input in\n").Close()
	if _, err := w.Write(make([]byte, 1<<20)); err == nil {
		t.Fatal("the input is read though the process has ended")
	}
}

func TestExchangeRefuses(t *testing.T) {
	t.Parallel()
	for name, headers := range map[string][]string{
		"unknown name": {"output other\n"},
		"wrong kind":   {"input out\n"},
		"twice":        {"output out\n", "output out\n"},
		"task":         {"task \n"},
		"garbage":      {strings.Repeat("x", link.MaxHeader)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, guest, violations := exchangePair(t, fakeStreams{out: &sink{closed: make(chan string, 2)}})
			x.announce("in", "out", "")
			for _, h := range headers {
				openStream(t, guest, h)
			}
			select {
			case <-violations:
			case <-time.After(10 * time.Second):
				t.Fatal("no violation was seen")
			}
		})
	}
}

func TestWithdrawForgets(t *testing.T) {
	t.Parallel()
	x := &exchange{announced: map[link.Header]*stdio{}}
	s := x.announce("in", "out", "err")
	other := x.announce("in2", "out2", "")
	x.withdraw(s)
	s.outputs.Wait()
	if len(x.announced) != 2 {
		t.Fatalf("left: %v", x.announced)
	}
	x.withdraw(other)
}

// discardConsole is a console log that counts.
type discardConsole struct{ n int }

func (d *discardConsole) Write(b []byte) (int, error) { d.n += len(b); return len(b), nil }
func (d *discardConsole) Close() error                { return nil }

func TestConsoleIsBounded(t *testing.T) {
	t.Parallel()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		theirs.Write(make([]byte, 4*consoleLimit))
		theirs.Close()
	}()
	var d discardConsole
	keepConsole(&d, ours, &tail{})
	if d.n != consoleLimit+len(consoleEnd) {
		t.Fatalf("kept %d bytes", d.n)
	}
}
