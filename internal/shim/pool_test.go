package shim

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"bothy/internal/shimapi"
	"bothy/internal/shimapi/control"
)

// fakeBlank is a machine that is ready at once, unless fail says why not or hold
// is set, which it then waits for, or for the end of its context.
type fakeBlank struct {
	fail error
	hold chan struct{}
	done chan struct{} // the machine's end
	dead chan struct{} // closed when it was killed
}

func newFakeBlank() *fakeBlank {
	return &fakeBlank{done: make(chan struct{}), dead: make(chan struct{})}
}

func (f *fakeBlank) make(ctx context.Context, _ string, _ shimapi.PoolPrepare, _ []*os.File) (*blank, error) {
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			close(f.dead)
			return nil, ctx.Err()
		}
	}
	if f.fail != nil {
		return nil, f.fail
	}
	return &blank{pid: 7, done: f.done, kill: func() { close(f.dead) }, home: func(context.Context, homeOptions) (*home, error) {
		return nil, errdefs.ErrUnavailable
	}}, nil
}

// waitingFor starts a waiting shim over f; its result comes later.
func waitingFor(t *testing.T, f *fakeBlank) (engine *control.Conn, result <-chan waited) {
	t.Helper()
	engine, file, err := control.Pair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := control.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = engine.Close(), conn.Close() })
	ch := make(chan waited, 1)
	go func() {
		w := &waiting{conn: conn, machine: f.make}
		c, err := w.wait(context.Background())
		ch <- waited{c, err}
	}()
	return engine, ch
}

type waited struct {
	claim *claim
	err   error
}

func prepareMessage() shimapi.PoolMessage {
	return shimapi.PoolMessage{Prepare: &shimapi.PoolPrepare{
		Machine: shimapi.Machine{Template: &shimapi.Template{Digest: "x"}}, Disk: "/d/disk.img", Cgroup: "/c",
		Filters: "/f", Practice: shimapi.Practice{Image: "/i", Bundle: "/b"},
	}}
}

func send(t *testing.T, c *control.Conn, m shimapi.PoolMessage, files ...*os.File) {
	t.Helper()
	if err := c.Send(m, files...); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c *control.Conn) shimapi.PoolMessage {
	t.Helper()
	m, _, err := c.Receive()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// listeners makes the two sockets of a bundle.
func listeners(t *testing.T, bundle string) (task, attach *os.File) {
	t.Helper()
	var files []*os.File
	for _, name := range []string{shimapi.TaskSocket, shimapi.AttachSocket} {
		l, err := net.Listen("unix", filepath.Join(bundle, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		file, err := l.(*net.UnixListener).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		files = append(files, file)
	}
	return files[0], files[1]
}

func TestWaitingShimIsAssigned(t *testing.T) {
	t.Parallel()
	f := newFakeBlank()
	engine, result := waitingFor(t, f)
	send(t, engine, prepareMessage())
	if m := receive(t, engine); m.Ready == nil || m.Ready.Pid != 7 {
		t.Fatalf("not ready: %+v", m)
	}
	bundle := t.TempDir()
	task, attach := listeners(t, bundle)
	send(t, engine, shimapi.PoolMessage{Assign: &shimapi.PoolAssignment{ID: "id", Bundle: bundle}}, task, attach)
	got := <-result
	if got.err != nil || got.claim == nil || got.claim.ID != "id" {
		t.Fatalf("%+v", got)
	}
	s, err := got.claim.service("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.idle.Stop()
	if s.id != "id" || s.bundle != bundle {
		t.Errorf("it serves %s in %s", s.id, s.bundle)
	}
	if pid, err := os.ReadFile(filepath.Join(bundle, shimapi.PidFile)); err != nil || len(pid) == 0 {
		t.Errorf("pid %q, %v", pid, err)
	}
	select {
	case <-f.dead:
		t.Error("the machine was killed")
	default:
	}
}

// TestWaitingShimEnds has all reasons for which a waiting shim ends with its
// machine.
func TestWaitingShimEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do     func(t *testing.T, f *fakeBlank, engine *control.Conn)
		fails  string // in the error and in what the engine is told
		killed bool
	}{
		"before anything": {do: func(t *testing.T, _ *fakeBlank, engine *control.Conn) { closeConn(t, engine) }},
		"not prepared": {do: func(t *testing.T, _ *fakeBlank, engine *control.Conn) {
			send(t, engine, shimapi.PoolMessage{Failed: "x"})
		}, fails: "which machine"},
		"no machine": {do: func(t *testing.T, f *fakeBlank, engine *control.Conn) { send(t, engine, prepareMessage()) }, fails: "no luck"},
		"while it is made": {do: func(t *testing.T, _ *fakeBlank, engine *control.Conn) {
			send(t, engine, prepareMessage())
			closeConn(t, engine)
		}, killed: true},
		"while it waits":    {do: func(t *testing.T, _ *fakeBlank, engine *control.Conn) { makeReady(t, engine); closeConn(t, engine) }, killed: true},
		"its machine ended": {do: func(t *testing.T, f *fakeBlank, engine *control.Conn) { makeReady(t, engine); close(f.done) }, fails: "the machine has ended", killed: true},
		"without listeners": {do: func(t *testing.T, _ *fakeBlank, engine *control.Conn) {
			makeReady(t, engine)
			send(t, engine, shimapi.PoolMessage{Assign: &shimapi.PoolAssignment{ID: "id", Bundle: "/b"}})
		}, fails: "two listeners", killed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeBlank()
			switch name {
			case "no machine":
				f.fail = errors.New("no luck")
			case "while it is made":
				f.hold = make(chan struct{})
			}
			engine, result := waitingFor(t, f)
			c.do(t, f, engine)
			got := <-result
			if got.claim != nil || (got.err == nil) != (c.fails == "") || got.err != nil && !strings.Contains(got.err.Error(), c.fails) {
				t.Errorf("%+v", got)
			}
			if c.fails != "" {
				if m, _, err := engine.Receive(); err != nil || !strings.Contains(m.Failed, c.fails) {
					t.Errorf("the engine was told %+v, %v", m, err)
				}
			}
			select {
			case <-f.dead:
				if !c.killed {
					t.Error("a machine was killed")
				}
			default:
				if c.killed {
					t.Error("the machine lives")
				}
			}
		})
	}
}

func makeReady(t *testing.T, engine *control.Conn) {
	t.Helper()
	send(t, engine, prepareMessage())
	if m := receive(t, engine); m.Ready == nil {
		t.Fatalf("not ready: %+v", m)
	}
}

func closeConn(t *testing.T, c *control.Conn) {
	t.Helper()
	if err := c.Close(); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

// TestClaimOfDeadMachine finds a machine that ended between two messages.
func TestClaimOfDeadMachine(t *testing.T) {
	t.Parallel()
	f := newFakeBlank()
	close(f.done)
	c := &claim{PoolAssignment: shimapi.PoolAssignment{ID: "id", Bundle: t.TempDir()}, blank: &blank{done: f.done}}
	if _, err := c.service("test", nil); !errdefs.IsUnavailable(err) {
		t.Errorf("a dead machine was taken: %v", err)
	}
}
