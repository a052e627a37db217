package dockerapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/moby/moby/api/types"
)

// attachContainer joins the client's connection to a container's stdio.
func (s *Server) attachContainer(w http.ResponseWriter, r *request) error {
	return s.hijacking(w, r, func(ctx context.Context, open func(tty bool) (Conn, error)) error {
		req := attachRequest(r)
		req.Open = open
		return s.backend.AttachContainer(ctx, r.name(), req)
	})
}

// attachRequest reads what a client wants to be joined to.
func attachRequest(r *request) AttachRequest {
	return AttachRequest{
		Stdin: r.boolean("stdin"), Stdout: r.boolean("stdout"), Stderr: r.boolean("stderr"),
		Logs: r.boolean("logs"), Stream: r.boolean("stream"),
		DetachKeys: r.query.Get("detachKeys"),
	}
}

// hijacking runs an operation that takes over the client's connection by open:
// HTTP ends and bytes begin, in docker's "tcp" upgrade or, for old clients,
// after a bare 200. The operation's context ends when the client has gone.
func (s *Server) hijacking(w http.ResponseWriter, r *request, run func(ctx context.Context, open func(tty bool) (Conn, error)) error) error {
	_, upgrade := r.Header["Upgrade"]
	opened := false
	// The request's own context ends with the client's input already.
	ctx, gone := context.WithCancel(context.WithoutCancel(r.Context()))
	defer gone()
	defer context.AfterFunc(s.stopped, gone)()
	err := run(ctx, func(tty bool) (Conn, error) {
		opened = true
		conn, err := hijack(w, upgrade, streamType(tty, r.version))
		if err != nil {
			return nil, err
		}
		conn.watched = watchPeer(conn.Conn, gone)
		return conn, nil
	})
	if opened && err != nil {
		s.log.Debug("a joined stream ended", "path", r.URL.Path, "error", err)
		return nil
	}
	return err
}

// streamType is the content type of a container's output.
func streamType(tty bool, version APIVersion) string {
	if !tty && !version.before("1.42") {
		return types.MediaTypeMultiplexedStream
	}
	return types.MediaTypeRawStream
}

// hijack takes over the connection and answers the client.
func hijack(w http.ResponseWriter, upgrade bool, contentType string) (*hijackedConn, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("taking over the client's connection: %w", err)
	}
	answer := "HTTP/1.1 200 OK\r\nContent-Type: " + types.MediaTypeRawStream + "\r\n\r\n"
	if upgrade {
		answer = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + contentType + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	}
	_ = conn.SetDeadline(time.Time{})
	if _, err := conn.Write([]byte(answer)); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("answering the client: %w", err)
	}
	return &hijackedConn{Conn: conn, buffered: buffered.Reader}, nil
}

// hijackedConn reads what the client sent with its request first.
type hijackedConn struct {
	net.Conn
	buffered *bufio.Reader
	watched  io.Closer // ends the watch for the peer's leaving; nil: there is none
}

// Close ends the connection.
func (c *hijackedConn) Close() error {
	if c.watched != nil {
		_ = c.watched.Close()
	}
	return c.Conn.Close()
}

func (c *hijackedConn) Read(p []byte) (int, error) {
	return c.buffered.Read(p)
}

// CloseWrite tells the client that no more output follows.
func (c *hijackedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
