package shimclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"bothy/internal/shimapi"
	"bothy/internal/shimapi/control"
)

// claimTimeout bounds the time in which a waiting shim must take a container: it
// has nothing to do but to say so.
const claimTimeout = 2 * time.Second

// BlankOptions say which shim to start for no container yet.
type BlankOptions struct {
	Binary     string   // see Options
	Executable *os.File // see Options
	// Files are the machine's tap and its template's; they stay the caller's.
	Files   []*os.File
	Dir     string // an existing directory, absolute path: takes the shim's and the machine's messages
	Prepare shimapi.PoolPrepare
}

// Blank is a shim with a machine that waits for a container, or will soon. It
// ends when this process does, as long as it was not claimed.
type Blank struct {
	proc *os.Process
	conn *control.Conn
	done chan struct{} // closed when the process has ended

	mu      sync.Mutex
	claimed bool // the shim is a container's
}

// StartBlank starts a shim and tells it which machine to make.
func StartBlank(opts BlankOptions) (*Blank, error) {
	b, err := startBlank(opts)
	if err != nil {
		return nil, fmt.Errorf("starting a shim for a machine that waits: %w", err)
	}
	return b, nil
}

func startBlank(opts BlankOptions) (*Blank, error) {
	conn, theirs, err := control.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	if err := conn.Send(shimapi.PoolMessage{Prepare: &opts.Prepare}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	log := filepath.Join(opts.Dir, shimapi.ShimLog)
	proc, err := spawn(programPath(opts.Binary, opts.Executable), log, []string{"pool", "-bundle", opts.Dir}, append([]*os.File{theirs}, opts.Files...))
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	b := &Blank{proc: proc, conn: conn, done: make(chan struct{})}
	go func() {
		_, _ = proc.Wait()
		close(b.done)
	}()
	return b, nil
}

// Ready waits until the machine waits, and gives QEMU's process id. It is called
// once. If it fails the shim ends.
func (b *Blank) Ready(ctx context.Context) (pid int, err error) {
	m, err := b.receive(ctx)
	if err == nil && m.Ready == nil {
		err = fmt.Errorf("it answers with something else: %w", errdefs.ErrUnavailable)
	}
	if err != nil {
		_ = b.conn.Close()
		return 0, fmt.Errorf("waiting for a machine: %w", err)
	}
	return m.Ready.Pid, nil
}

// receive waits for one message that is not a failure.
func (b *Blank) receive(ctx context.Context) (shimapi.PoolMessage, error) {
	stop := context.AfterFunc(ctx, func() { _ = b.conn.Close() })
	m, _, err := b.conn.Receive()
	if !stop() && ctx.Err() != nil {
		return m, ctx.Err()
	}
	switch {
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("the shim has gone: %w", errdefs.ErrUnavailable)
	case err == nil && m.Failed != "":
		err = fmt.Errorf("%s: %w", m.Failed, errdefs.ErrUnavailable)
	}
	return m, err
}

// Claim makes the shim that of the container id, whose bundle is an existing
// directory, and connects to it as Start does. If it fails the shim ends with its
// machine, and the error is errdefs.ErrUnavailable where that is because either
// had ended before.
func (b *Blank) Claim(ctx context.Context, id, bundle string) (*Client, error) {
	c, err := b.claim(ctx, id, bundle)
	if err != nil {
		_ = b.conn.Close()
		return nil, fmt.Errorf("giving a machine that waits to container %s: %w", id, err)
	}
	return c, nil
}

func (b *Blank) claim(ctx context.Context, id, bundle string) (_ *Client, err error) {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	go stirCgroups()
	task, err := listenUnix(filepath.Join(bundle, shimapi.TaskSocket))
	if err != nil {
		return nil, err
	}
	defer task.Close()
	attach, err := listenUnix(filepath.Join(bundle, shimapi.AttachSocket))
	if err != nil {
		return nil, err
	}
	defer attach.Close()
	assign := shimapi.PoolMessage{Assign: &shimapi.PoolAssignment{ID: id, Bundle: bundle}}
	if err := b.conn.Send(assign, task, attach); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	m, err := b.receive(ctx)
	if err == nil && m.Assigned == nil {
		err = fmt.Errorf("it answers with something else: %w", errdefs.ErrUnavailable)
	}
	if err != nil {
		return nil, err
	}
	conn, err := dialUnix(ctx, filepath.Join(bundle, shimapi.TaskSocket))
	if err != nil {
		_ = b.proc.Kill() // it is nobody's: its machine goes with it
		return nil, err
	}
	b.mu.Lock()
	b.claimed = true
	b.mu.Unlock()
	_ = b.conn.Close() // it has done what it was for
	return newClient(bundle, conn, b.proc.Pid), nil
}

// Done is closed when the shim has ended.
func (b *Blank) Done() <-chan struct{} { return b.done }

// Close ends a shim that was not claimed, with its machine, and returns when it
// has gone; one that does not go by itself until ctx ends is killed. It may be
// called twice.
func (b *Blank) Close(ctx context.Context) {
	b.mu.Lock()
	claimed := b.claimed
	b.mu.Unlock()
	if claimed {
		return
	}
	_ = b.conn.Close()
	select {
	case <-b.done:
	case <-ctx.Done():
		_ = b.proc.Kill()
		<-b.done
	}
}
