package dockerapi

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/net/websocket"
)

// attachWebsocket joins a websocket to a container's stdio: its messages are
// input, and output comes in binary messages, stdout and stderr in one.
func (s *Server) attachWebsocket(w http.ResponseWriter, r *request) error {
	// A request that is taken over ends with its handler, not with its context.
	ctx, gone := context.WithCancel(context.WithoutCancel(r.Context()))
	defer gone()
	defer context.AfterFunc(s.stopped, gone)()
	opened, ended := make(chan *websocket.Conn, 1), make(chan struct{})
	done := make(chan struct{})
	req := attachRequest(r)
	req.Raw = true
	began := false
	req.Open = func(bool) (Conn, error) {
		began = true
		upgrade := websocket.Server{Handler: func(conn *websocket.Conn) {
			conn.PayloadType = websocket.BinaryFrame
			opened <- conn
			<-done
		}}
		go func() {
			defer close(ended)
			upgrade.ServeHTTP(w, r.Request)
		}()
		select {
		case conn := <-opened:
			_ = conn.SetDeadline(time.Time{})
			return &socketConn{Conn: conn, gone: gone}, nil
		case <-ended:
			return nil, invalid("the request is no websocket's")
		}
	}
	err := s.backend.AttachContainer(ctx, r.name(), req)
	close(done)
	if began {
		<-ended
		if err != nil {
			s.log.Debug("a websocket ended", "path", r.URL.Path, "error", err)
		}
		return nil
	}
	return err
}

// socketConn is a websocket as a connection. It has no half that could be
// closed alone: a peer that ends its input has gone.
type socketConn struct {
	*websocket.Conn
	gone func()
}

func (c *socketConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.gone()
	}
	return n, err
}

// CloseWrite says good-bye.
func (c *socketConn) CloseWrite() error { return c.Close() }
