package dockerapi

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestPeerThatLeavesIsNoticed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	gone := make(chan struct{})
	watch := watchPeer(server, func() { close(gone) })
	defer watch.Close()

	_, _ = client.Write([]byte("in"))
	_ = client.CloseWrite()
	buf := make([]byte, 8)
	if n, err := server.Read(buf); err != nil || string(buf[:n]) != "in" {
		t.Fatal(n, err)
	}
	if _, err := server.Read(buf); err == nil {
		t.Fatal("no end of the input")
	}
	select {
	case <-gone:
		t.Fatal("a peer that has no more input counts as gone")
	default:
	}
	_ = client.Close()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("the peer's end was not noticed")
	}
}
