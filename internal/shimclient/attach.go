package shimclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"bothy/internal/shimapi"
)

// Conn is an attached client's connection: what is read is output, what is
// written is stdin. CloseWrite ends stdin.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// maxResponse bounds the line with which a shim answers an attach request.
const maxResponse = 64 << 10

// Attach joins the caller to a process of the container. After it returns,
// the caller gets every byte of output from then on; before Start that means
// all. tty says that output is raw, not in docker's frames. The connection
// ends when the output has. The error is errdefs.ErrNotFound if there is no
// such process, or no shim.
func (c *Client) Attach(ctx context.Context, req shimapi.AttachRequest) (conn Conn, tty bool, err error) {
	conn, tty, err = c.attach(ctx, req)
	if err != nil {
		return nil, false, fmt.Errorf("attaching by the shim of %s: %w", c.bundle, err)
	}
	return conn, tty, nil
}

func (c *Client) attach(ctx context.Context, req shimapi.AttachRequest) (Conn, bool, error) {
	req.Version = shimapi.Version
	line, err := json.Marshal(req)
	if err != nil {
		return nil, false, err
	}
	raw, err := dialUnix(ctx, filepath.Join(c.bundle, shimapi.AttachSocket))
	if err != nil {
		return nil, false, noShim(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	conn, resp, err := shakeHands(raw, append(line, '\n'))
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil && resp.Error != "" {
		err = errgrpc.ToNative(status.Error(codes.Code(resp.Code), resp.Error))
	}
	if err != nil {
		_ = raw.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, false, err
	}
	return conn, resp.TTY, nil
}

// shakeHands sends the request and reads the one line that answers it.
func shakeHands(raw *net.UnixConn, request []byte) (*attachConn, shimapi.AttachResponse, error) {
	var resp shimapi.AttachResponse
	if _, err := raw.Write(request); err != nil {
		return nil, resp, err
	}
	var got []byte
	buf := make([]byte, 1024)
	for {
		n, err := raw.Read(buf)
		got = append(got, buf[:n]...)
		if line, rest, ok := bytes.Cut(got, []byte{'\n'}); ok {
			if err := json.Unmarshal(line, &resp); err != nil {
				return nil, resp, fmt.Errorf("reading the answer: %w", err)
			}
			return &attachConn{UnixConn: raw, early: rest}, resp, nil
		}
		if err != nil {
			return nil, resp, fmt.Errorf("reading the answer: %w", err)
		}
		if len(got) > maxResponse {
			return nil, resp, fmt.Errorf("the answer is no line of at most %d bytes", maxResponse)
		}
	}
}

// attachConn is the connection after the handshake; early is the output that
// came in one piece with the answer.
type attachConn struct {
	*net.UnixConn
	early []byte
}

func (c *attachConn) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.UnixConn.Read(p)
	}
	n := copy(p, c.early)
	c.early = c.early[n:]
	return n, nil
}
