package link

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// pair returns both halves of a session whose guest side was preceded by stale
// bytes.
func pair(t *testing.T, stale string) (host, guest io.Closer, open func() net.Conn, accept func() net.Conn) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	type result struct {
		c      io.Closer
		accept func() (net.Conn, error)
		err    error
	}
	done := make(chan result, 1)
	go func() {
		io.WriteString(b, stale)
		s, err := Guest(b)
		if err != nil {
			done <- result{err: err}
			return
		}
		done <- result{c: s, accept: s.Accept}
	}()
	h, err := Host(a)
	if err != nil {
		t.Fatal(err)
	}
	g := <-done
	if g.err != nil {
		t.Fatal(g.err)
	}
	must := func(c net.Conn, err error) net.Conn {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return h, g.c, func() net.Conn { return must(h.Open()) }, func() net.Conn { return must(g.accept()) }
}

func TestSessionCarriesStreams(t *testing.T) {
	t.Parallel()
	for _, stale := range []string{"", "half a line", "\nbothy-link/1 gu", strings.Repeat("x", 4000)} {
		host, guest, open, accept := pair(t, stale)
		c := open()
		if err := WriteHeader(c, Header{Kind: Output, Name: "a b"}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "payload")
		c.Close()
		s := accept()
		s.SetDeadline(time.Now().Add(10 * time.Second))
		h, err := ReadHeader(s)
		if err != nil || h != (Header{Kind: Output, Name: "a b"}) {
			t.Fatalf("header %v, %v", h, err)
		}
		if got, err := io.ReadAll(s); err != nil || string(got) != "payload" {
			t.Fatalf("payload %q, %v", got, err)
		}
		host.Close()
		guest.Close()
	}
}

// A guest that pings and does not read the answers must not fill the host's
// memory: the first ping ends the session.
func TestHostRefusesPings(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() {
		io.WriteString(b, guestHello)
		expect(b, hostHello)
		b.Write([]byte{0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}) // data, on a stream that is opened
		b.Write([]byte("abc"))
		b.Write([]byte{0, framePing, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7})
		io.Copy(io.Discard, b)
	}()
	s, err := Host(a)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	select {
	case <-s.CloseChan():
	case <-time.After(10 * time.Second):
		t.Fatal("the session goes on")
	}
}

// However the bytes are cut, the guard finds what is a ping and what is data.
func FuzzGuard(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 'a', 'b', 'c', 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7}, 5)
	f.Add([]byte{0, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 2}, 1)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if cut <= 0 || cut > len(in) {
			return
		}
		whole, parts := &guard{}, &guard{}
		want := whole.look(in)
		got := parts.look(in[:cut])
		if got == nil {
			got = parts.look(in[cut:])
		}
		if got != want {
			t.Fatalf("cut at %d: %v, whole: %v", cut, got, want)
		}
	})
}

func TestHostRefusesStranger(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		io.Copy(b, bytes.NewReader(make([]byte, maxStale+len(guestHello))))
		b.Close()
	}()
	if _, err := Host(a); err == nil || !strings.Contains(err.Error(), "link protocol") {
		t.Fatalf("error %v", err)
	}
}

func TestReadHeaderBounds(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"empty":        "",
		"no end":       "task ",
		"no space":     "task\n",
		"unknown kind": "exec x\n",
		"task name":    "task x\n",
		"no name":      "input \n",
		"control":      "input a\x01\n",
		"too long":     "input " + strings.Repeat("x", MaxHeader) + "\n",
	} {
		if h, err := ReadHeader(strings.NewReader(in)); err == nil {
			t.Errorf("%s: got %v", name, h)
		}
	}
	if err := WriteHeader(io.Discard, Header{Kind: Input, Name: "a\nb"}); err == nil {
		t.Error("a name with a line's end was written")
	}
	if err := WriteHeader(io.Discard, Header{Kind: Input, Name: strings.Repeat("x", MaxHeader)}); err == nil {
		t.Error("a name too long was written")
	}
}

func FuzzReadHeader(f *testing.F) {
	for _, s := range []string{"task \n", "input a\n", "output a b\nrest", "x\n", "\n", "input \xff\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		h, err := ReadHeader(r)
		if used := len(in) - r.Len(); used > MaxHeader {
			t.Fatalf("read %d bytes", used)
		}
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteHeader(&out, h); err != nil {
			t.Fatalf("%v was read but cannot be written: %v", h, err)
		}
		if !bytes.HasPrefix(in, out.Bytes()) {
			t.Fatalf("%q came back as %q", in, out.Bytes())
		}
	})
}
