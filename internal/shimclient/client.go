// Package shimclient is the engine's side of a shim: it starts the program
// with its sockets and network files already open, finds it again after a
// restart of the engine, and speaks the task service and the attach protocol.
//
// It knows nothing of containers' lifecycle: what a lost shim means is the
// engine's to decide.
package shimclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"

	"bothy/internal/shimapi"
)

// Client is a connection to one shim. Its methods may be called from several
// goroutines. Errors of Task keep their errdefs kind; a shim that has gone is
// errdefs.ErrUnavailable.
type Client struct {
	// Task is the shim's task service.
	Task taskAPI.TTRPCTaskService
	// Pid is the shim's process id; 0 if Dial found no record of it.
	Pid int

	bundle string
	conn   *ttrpc.Client
	done   chan struct{}
}

// Dial connects to the shim that serves the bundle directory. The error is
// errdefs.ErrNotFound if none does: it never ran or has ended, and Cleanup
// removes what it left.
func Dial(ctx context.Context, bundle string) (*Client, error) {
	conn, err := dialUnix(ctx, filepath.Join(bundle, shimapi.TaskSocket))
	if err != nil {
		return nil, fmt.Errorf("connecting to the shim of %s: %w", bundle, noShim(err))
	}
	return newClient(bundle, conn, readPid(bundle)), nil
}

func newClient(bundle string, conn net.Conn, pid int) *Client {
	c := &Client{Pid: pid, bundle: bundle, done: make(chan struct{})}
	c.conn = ttrpc.NewClient(conn,
		ttrpc.WithOnClose(func() { close(c.done) }),
		ttrpc.WithUnaryClientInterceptor(errorKinds))
	c.Task = taskAPI.NewTTRPCTaskClient(c.conn)
	return c
}

// Done is closed when the connection has gone: the shim ended, or Close was
// called.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection. The shim and its container live on.
func (c *Client) Close() error {
	if err := c.conn.Close(); err != nil {
		return fmt.Errorf("closing the connection to the shim of %s: %w", c.bundle, err)
	}
	return nil
}

func readPid(bundle string) int {
	data, err := os.ReadFile(filepath.Join(bundle, shimapi.PidFile))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return pid
}

// noShim gives the errors of a socket that nobody listens on their kind.
func noShim(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	}
	return err
}
