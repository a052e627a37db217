package shim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"

	"bothy/internal/shimapi"
)

const (
	// requestTimeout bounds the time from a connection to its request.
	requestTimeout = 10 * time.Second
	// maxRequest bounds a request's line in bytes.
	maxRequest = 4 << 10
)

// serveAttach serves the attach protocol until the listener is closed.
func (s *service) serveAttach(l *net.UnixListener) {
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptors left: wait for some
			log.Printf("accepting an attach connection: %v", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		go s.attach(conn)
	}
}

// attach serves one client until it goes, or all output is written to it.
func (s *service) attach(conn *net.UnixConn) {
	in := bufio.NewReaderSize(conn, maxRequest) // longer lines are refused
	_ = conn.SetReadDeadline(time.Now().Add(requestTimeout))
	req, err := readRequest(in)
	if err != nil {
		refuse(conn, err)
		return
	}
	if req.Files {
		s.serveFiles(conn, in)
		return
	}
	_, p, err := s.process(s.id, req.ExecID)
	if err != nil {
		refuse(conn, err)
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	c := newClient(conn, response(shimapi.AttachResponse{TTY: p.stdio.opts.tty}))
	c.stdout, c.stderr = req.Stdout, req.Stderr
	p.stdio.attach(c)
	go c.run()

	if req.Stdin {
		p.stdio.feed(rest(in, conn))
	} else {
		discard(conn)
	}
	waitHangUp(conn)
	c.drop()
	s.quiet.begin()() // what the client's output took is given back
}

// readRequest reads a request's line.
func readRequest(in *bufio.Reader) (*shimapi.AttachRequest, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("reading an attach request: %w", err)
	}
	var req shimapi.AttachRequest
	if err := json.Unmarshal(line, &req); err != nil {
		return nil, fmt.Errorf("reading an attach request: %w", err)
	}
	if req.Version != shimapi.Version {
		return nil, fmt.Errorf("the attach request has version %d, this shim knows %d: %w",
			req.Version, shimapi.Version, errdefs.ErrInvalidArgument)
	}
	return &req, nil
}

// rest reads what in holds already and then the connection itself, so that in
// can be freed.
func rest(in *bufio.Reader, conn net.Conn) io.Reader {
	held, _ := in.Peek(in.Buffered())
	return io.MultiReader(bytes.NewReader(bytes.Clone(held)), conn)
}

// discard reads until the client ends its writing side, or goes.
func discard(conn net.Conn) {
	buf := make([]byte, 64)
	for {
		if _, err := conn.Read(buf); err != nil {
			return
		}
	}
}

func response(r shimapi.AttachResponse) []byte {
	line, _ := json.Marshal(r) // strings and booleans: cannot fail
	return append(line, '\n')
}

// refuse answers a request that cannot be served.
func refuse(conn net.Conn, err error) {
	_ = conn.SetDeadline(time.Now().Add(requestTimeout))
	kind, _ := status.FromError(errgrpc.ToGRPC(err))
	_, _ = conn.Write(response(shimapi.AttachResponse{Error: kind.Message(), Code: uint32(kind.Code())}))
	_ = conn.Close()
}
