package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"google.golang.org/protobuf/types/known/anypb"

	"bothy/internal/engineapi"
	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
	"bothy/internal/spec"
)

const (
	// processURL is the type of a process's spec in the task service.
	processURL = "types.containerd.io/opencontainers/runtime-spec/1/Process"
	// execTimeout bounds the start of a process.
	execTimeout = time.Minute
	// redialPause lies between two waits for it over a connection that broke.
	redialPause = 100 * time.Millisecond
	// execDeleteTimeout bounds its removal.
	execDeleteTimeout = 10 * time.Second
)

// StartExec starts a prepared process. Unless the client detaches, it joins it
// to the streams and returns when either side has ended; ctx ends when the
// client has gone, and the process goes on then. A process that cannot be
// started says so to a client that is joined, as docker has it, and by its exit
// code.
func (x *Execs) StartExec(ctx context.Context, id string, req engineapi.ExecStart) error {
	e, err := x.containers.execs.find(id)
	if err != nil {
		return err
	}
	t, err := e.c.shim(opExec)
	if err != nil {
		return err
	}
	if err := e.move(execBegin, nil); err != nil {
		return err
	}
	if req.ConsoleSize != nil {
		e.req.ConsoleSize = req.ConsoleSize
	}
	if req.Detach {
		_, err := x.launch(ctx, e, t, false)
		return err
	}
	conn, err := req.Open(req.TTY)
	if err != nil {
		return errors.Join(err, e.failed(exitNotExecutable))
	}
	defer conn.Close()
	live, err := x.launch(ctx, e, t, true)
	if err != nil {
		return tellFailure(conn, err, req.TTY)
	}
	defer live.Close()
	detached := relay(ctx, conn, live, relayOptions{
		tty: e.req.Tty, keys: e.keys, output: outputIn(e.req.Tty, req.TTY),
		// The client asks for the exit code when its output has ended.
		last: func() {
			select {
			case <-e.done:
			case <-ctx.Done():
			case <-x.containers.ctx.Done():
			}
		},
	})
	if detached {
		x.emit(e, events.ActionExecDetach)
	}
	return nil
}

// tellFailure tells a client that is joined why there is no process.
func tellFailure(conn engineapi.Conn, err error, raw bool) error {
	text := []byte(engineapi.Sentence(err) + "\r\n")
	if !raw {
		text = frame("stdout", text)
	}
	if _, werr := conn.Write(text); werr != nil {
		return errors.Join(err, werr)
	}
	_ = conn.CloseWrite()
	return err
}

// launch makes the process and, with joined, gives its streams. When it returns
// without an error, the process's end will be seen to.
func (x *Execs) launch(ctx context.Context, e *execution, t task, joined bool) (live shimclient.Conn, err error) {
	// A client that goes away does not leave half a start.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), execTimeout)
	defer cancel()
	made := false
	if err := x.keep(e); err != nil {
		return nil, errors.Join(err, e.failed(exitNotExecutable))
	}
	defer func() {
		if err == nil {
			return
		}
		if live != nil {
			_ = live.Close()
			live = nil
		}
		var code int
		if code, err = execFailure(err); made {
			x.forget(ctx, e, t)
		} else {
			x.drop(e)
		}
		if ferr := e.failed(code); ferr != nil {
			x.containers.log.Error("recording a process that was not started", "container", e.c.id, "exec", e.id, "error", ferr)
		}
	}()
	if err := x.make(ctx, e, t, joined); err != nil {
		return nil, err
	}
	made = true
	if joined {
		live, _, err = t.Attach(ctx, shimapi.AttachRequest{ExecID: e.id, Stdin: e.req.AttachStdin, Stdout: e.req.AttachStdout, Stderr: e.req.AttachStderr})
		if err != nil {
			return nil, err
		}
	}
	resp, err := t.Start(ctx, &taskAPI.StartRequest{ID: e.c.id, ExecID: e.id})
	if err != nil {
		return live, err
	}
	if err := e.running(int(resp.GetPid())); err != nil {
		return live, err
	}
	x.emit(e, events.ActionExecStart+": "+e.action())
	x.containers.watchers.Go(func() { x.watch(e, t) })
	return live, nil
}

// make tells the shim of the process. One that nobody is joined to has nothing
// but /dev/null, and its terminal's output is dropped.
func (x *Execs) make(ctx context.Context, e *execution, t task, joined bool) error {
	rec, _ := e.c.snapshot()
	process, err := spec.Exec(spec.Input{
		ID: rec.ID, Home: rec.Home, Config: rec.Config, HostConfig: rec.HostConfig, Hostname: rec.Config.Hostname,
	}, &e.req)
	if err != nil {
		return err
	}
	data, err := json.Marshal(process)
	if err != nil {
		return fmt.Errorf("encoding a process of container %s: %w", rec.Name, err)
	}
	req := &taskAPI.ExecProcessRequest{ID: e.c.id, ExecID: e.id, Terminal: e.req.Tty, Spec: &anypb.Any{TypeUrl: processURL, Value: data}}
	stream := func(wanted bool, name string) string {
		if wanted && joined {
			return name
		}
		return ""
	}
	req.Stdin, req.Stdout, req.Stderr = stream(e.req.AttachStdin, "stdin"), stream(e.req.AttachStdout, "stdout"), stream(e.req.AttachStderr, "stderr")
	_, err = t.Exec(ctx, req)
	return err
}

// watch waits for the process's end and publishes it. It returns without a
// trace when the engine is closed: the process runs on.
func (x *Execs) watch(e *execution, t task) {
	defer close(e.done)
	ctx := x.containers.ctx
	t, code := x.await(ctx, e, t)
	if ctx.Err() != nil {
		return
	}
	if err := e.end(code); err != nil {
		x.containers.log.Error("recording the end of a process", "container", e.c.id, "exec", e.id, "error", err)
	}
	x.emit(e, events.ActionExecDie, "exitCode", strconv.Itoa(code))
	x.containers.watchers.Go(func() { x.forget(ctx, e, t) })
}

// await waits for the process's end and gives its exit code. A connection that
// breaks is no end: whoever watches the container makes it anew, and it is the
// task that is returned. The container's end is that of all its processes.
func (x *Execs) await(ctx context.Context, e *execution, t task) (task, int) {
	for {
		resp, err := t.Wait(ctx, &taskAPI.WaitRequest{ID: e.c.id, ExecID: e.id})
		switch {
		case err == nil:
			return t, int(resp.GetExitStatus())
		case ctx.Err() != nil, errdefs.IsNotFound(err): // another run of the container has begun
			return t, exitKilled
		}
		again, err := e.c.shim(opTop)
		if err != nil {
			return t, exitKilled
		}
		if again == t {
			select {
			case <-time.After(redialPause):
			case <-ctx.Done():
			}
		}
		t = again
	}
}

// forget has the shim forget a process that has ended or never started.
func (x *Execs) forget(ctx context.Context, e *execution, t task) {
	defer x.drop(e)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), execDeleteTimeout)
	defer cancel()
	if _, err := t.Delete(ctx, &taskAPI.DeleteRequest{ID: e.c.id, ExecID: e.id}); err != nil {
		x.containers.log.Debug("a process is not forgotten by its shim", "container", e.c.id, "exec", e.id, "error", err)
	}
}

// execFailure gives a process that was not started its exit code, and its error
// docker's words.
func execFailure(err error) (code int, _ error) {
	code, err = startFailure(err)
	if code == exitUnknown {
		code = exitNotExecutable
	}
	text := err.Error()
	if _, rest, ok := strings.Cut(text, startedWhat); ok {
		if _, why, ok := strings.Cut(rest, ": "); ok {
			text = why
		}
	}
	return code, kindError{errors.New("OCI runtime exec failed: exec failed: unable to start container process: " + text), err}
}

// startedWhat begins what the executor says of a process that it could not
// start; its ID and the container's follow.
const startedWhat = "starting process "
