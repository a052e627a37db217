package dockerapi

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

func dialWebsocket(t *testing.T, socket, path string) (*websocket.Conn, error) {
	t.Helper()
	raw, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(30 * time.Second))
	config, err := websocket.NewConfig("ws://bothy"+path, "http://bothy")
	if err != nil {
		t.Fatal(err)
	}
	return websocket.NewClient(config, raw)
}

func TestAttachByWebsocket(t *testing.T) {
	t.Parallel()
	f := &fake{attached: func(_ context.Context, conn Conn) {
		in := make([]byte, 5)
		if _, err := io.ReadFull(conn, in); err != nil {
			t.Error(err)
		}
		_, _ = conn.Write(append([]byte("got "), in...))
		_ = conn.CloseWrite()
	}}
	socket, _, _ := serveFake(t, f)
	conn, err := dialWebsocket(t, socket, "/v1.41/containers/web/attach/ws?stream=1&stdin=1&stdout=1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "got hello" {
		t.Errorf("read %q, %v", got, err)
	}
	if f.raw != true {
		t.Error("the engine was not asked for raw output")
	}
}

func TestWebsocketOfAClientThatLeaves(t *testing.T) {
	t.Parallel()
	left := make(chan struct{})
	f := &fake{attached: func(ctx context.Context, conn Conn) {
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		<-ctx.Done()
		close(left)
	}}
	socket, _, _ := serveFake(t, f)
	conn, err := dialWebsocket(t, socket, "/containers/web/attach/ws?stream=1")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	<-left
}

func TestWebsocketRefusals(t *testing.T) {
	t.Parallel()
	socket, _, _ := serveFake(t, &fake{})
	if _, err := dialWebsocket(t, socket, "/containers/nobody/attach/ws?stream=1"); err == nil {
		t.Error("a container that is not there was attached to")
	}
	c := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}}
	defer c.CloseIdleConnections()
	resp, err := c.Get("http://bothy/containers/web/attach/ws")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a request that is no websocket's: %s", resp.Status)
	}
}
