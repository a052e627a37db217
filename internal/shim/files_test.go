package shim

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// guestStream is a guest's end of a connection for files.
type guestStream struct {
	io.Reader
	got    strings.Builder
	closed chan struct{}
}

func (g *guestStream) Write(p []byte) (int, error) { return g.got.Write(p) }
func (g *guestStream) Close() error {
	select {
	case <-g.closed:
	default:
		close(g.closed)
	}
	return nil
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("the client is gone") }

func TestRelayFiles(t *testing.T) {
	t.Parallel()
	answer, guest := net.Pipe()
	stream := &guestStream{Reader: answer, closed: make(chan struct{})}
	var client strings.Builder
	go func() {
		<-stream.closed // the request's end
		_, _ = io.WriteString(guest, "answer")
		guest.Close()
	}()
	relayFiles(&client, strings.NewReader("request"), stream)
	if client.String() != "answer" || stream.got.String() != "request" {
		t.Errorf("the client got %q, the guest %q", client.String(), stream.got.String())
	}
}

// A guest that has more to say than anybody hears is told, and heard to its end.
func TestRelayFilesToNobody(t *testing.T) {
	t.Parallel()
	answer, guest := net.Pipe()
	stream := &guestStream{Reader: answer, closed: make(chan struct{})}
	said := make(chan error, 1)
	go func() {
		_, err := guest.Write(make([]byte, 1<<20))
		guest.Close()
		said <- err
	}()
	never, writer := io.Pipe()
	defer writer.Close()
	relayFiles(brokenWriter{}, never, stream)
	select {
	case <-stream.closed:
	case <-time.After(10 * time.Second):
		t.Error("the guest is not told")
	}
	if err := <-said; err != nil {
		t.Error(err)
	}
}

func TestFilesOnlyEndsByItself(t *testing.T) {
	t.Parallel()
	f := newFilesOnly(func() {})
	defer f.timer.Stop()
	first, second := f.begin(), f.begin()
	first()
	if f.timer.Stop() {
		t.Error("it would end under a connection")
	}
	second()
	if !f.timer.Stop() {
		t.Error("it would never end")
	}
}
