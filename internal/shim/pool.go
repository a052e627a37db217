package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/containerd/errdefs"

	"bothy/internal/shimapi"
	"bothy/internal/shimapi/control"
)

// blank is a machine that waits for its container.
type blank struct {
	pid  int             // QEMU's
	done <-chan struct{} // closed when the machine has ended
	home newHome         // gives the machine to the container; may be called once
	kill func()          // ends the machine, or does nothing if it has ended
}

// newBlank makes a machine that waits, with its console and its process id in
// dir. The files are its tap and its template's.
// If it fails, nothing is left.
type newBlank func(ctx context.Context, dir string, p shimapi.PoolPrepare, files []*os.File) (*blank, error)

// ServePool is the life of a shim that is started for no container (see
// shimapi.PoolMessage): it makes a machine, waits with it until the engine gives
// it a container, and then is that container's shim like any other. It ends with
// its machine if the engine closes its end of the control socket before. The
// directory, an absolute path, stands in for a bundle until then.
func ServePool(ctx context.Context, dir, version string) error {
	return servePool(ctx, dir, version, blankMachine)
}

func servePool(ctx context.Context, dir, version string, machine newBlank) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("a shim that waits needs the absolute path of a directory: %w", errdefs.ErrInvalidArgument)
	}
	files, err := comeUp(shimapi.ControlFD + 1)
	if err != nil {
		return err
	}
	conn, err := control.Open(files[0])
	if err != nil {
		return err
	}
	w := &waiting{dir: dir, conn: conn, machine: machine, files: files[1:]}
	claimed, err := w.wait(ctx)
	if err != nil || claimed == nil {
		_ = conn.Close()
		return err
	}
	defer claimed.blank.kill()
	s, err := claimed.service(version, w.files)
	if err == nil {
		err = conn.Send(shimapi.PoolMessage{Assigned: &struct{}{}})
	} else {
		w.refuse(err)
	}
	_ = conn.Close()
	if err != nil {
		return err
	}
	return s.serve(ctx, claimed.task, claimed.attach)
}

// waiting is a shim without a container.
type waiting struct {
	dir     string
	conn    *control.Conn
	machine newBlank
	files   []*os.File
}

// claim is what a shim was given its container with.
type claim struct {
	shimapi.PoolAssignment
	blank        *blank
	task, attach *os.File // the listeners
}

// delivery is what came on the control socket.
type delivery struct {
	message shimapi.PoolMessage
	files   []*os.File
	err     error
}

// wait makes the machine and waits for a container. Where none comes because
// the engine has gone, or wants the machine no more, there is neither a claim
// nor an error, and no machine.
func (w *waiting) wait(ctx context.Context) (*claim, error) {
	first, _, err := w.conn.Receive()
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err == nil && first.Prepare == nil {
		err = fmt.Errorf("the first message does not say which machine is to wait: %w", errdefs.ErrInvalidArgument)
	}
	if err != nil {
		w.refuse(err)
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := make(chan delivery, 1)
	go func() {
		var d delivery
		if d.message, d.files, d.err = w.conn.Receive(); d.err != nil {
			cancel() // nobody waits for the machine
		}
		next <- d
	}()
	b, err := w.machine(ctx, w.dir, *first.Prepare, w.files)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil
		}
		w.refuse(err)
		return nil, err
	}
	c, err := w.await(b, next)
	if c == nil {
		b.kill()
	}
	return c, err
}

// await says that the machine is ready and waits for its container.
func (w *waiting) await(b *blank, next <-chan delivery) (*claim, error) {
	if err := w.conn.Send(shimapi.PoolMessage{Ready: &shimapi.PoolReady{Pid: b.pid}}); err != nil {
		return nil, nil // as with an end that is read
	}
	debug.SetGCPercent(gcPercent)
	debug.FreeOSMemory()
	dropProgram()
	var d delivery
	select {
	case d = <-next:
	case <-b.done:
		err := fmt.Errorf("the machine has ended: %w", errdefs.ErrUnavailable)
		w.refuse(err)
		return nil, err
	}
	switch {
	case errors.Is(d.err, io.EOF):
		return nil, nil
	case d.err != nil:
		w.refuse(d.err)
		return nil, d.err
	case d.message.Assign == nil || len(d.files) != 2:
		err := fmt.Errorf("a waiting shim is assigned to a container, with two listeners, or nothing: %w", errdefs.ErrInvalidArgument)
		w.refuse(err)
		return nil, err
	}
	return &claim{*d.message.Assign, b, d.files[0], d.files[1]}, nil
}

// refuse tells the engine why there is no answer, if it still listens.
func (w *waiting) refuse(err error) { _ = w.conn.Send(shimapi.PoolMessage{Failed: err.Error()}) }

// service makes the shim the container's.
func (c *claim) service(version string, files []*os.File) (*service, error) {
	select {
	case <-c.blank.done:
		return nil, fmt.Errorf("the machine has ended: %w", errdefs.ErrUnavailable)
	default:
	}
	if err := keepPid(c.Bundle); err != nil {
		return nil, err
	}
	return newService(c.ID, c.Bundle, version, files, c.blank.home), nil
}

// moveLog lets the shim's own messages be found where a container's are.
func moveLog(from, to string) {
	if err := os.Rename(filepath.Join(from, shimapi.ShimLog), filepath.Join(to, shimapi.ShimLog)); err != nil {
		log.Printf("moving the shim's log: %v", err)
	}
}
