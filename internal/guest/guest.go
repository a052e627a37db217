// Package guest is PID 1 of a virtual machine: it makes the machine's file
// systems, loads its kernel modules, and serves the executor over the link to
// the host. A Create request brings what only the guest can apply: the spec,
// the clock, random bytes, the network's settings.
//
// It runs in a guest that boots for one container and powers off with it. It
// trusts the host and knows nothing outside its machine.
package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/ttrpc"
	"github.com/hashicorp/yamux"

	"bothy/internal/executor"
	"bothy/internal/vm/link"
)

// upLine is what the console shows first of PID 1.
const upLine = "bothy: guest is up\n"

// shutdownTimeout bounds the wait for calls that are being answered when the
// host asks for the end.
const shutdownTimeout = time.Second

// headerTimeout bounds the time from a stream's opening to its header.
const headerTimeout = 30 * time.Second

// executorRoot is where libcontainer keeps its state.
const executorRoot = "/run/executor"

// filtersDir is where the executor keeps compiled seccomp filters.
const filtersDir = "/run/filters"

// Main is the whole life of PID 1. It does not return: the machine powers off,
// or, if it cannot even do what it is for, the kernel panics and the host sees
// the reason on the console.
func Main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "bothy: only PID 1 of a virtual machine may become a guest")
		os.Exit(1)
	}
	// libcontainer enters containers' namespaces on whichever thread it gets, and
	// leaves it there: it must not be the one that /proc/self speaks of.
	runtime.LockOSThread()
	_, _ = os.Stdout.WriteString(upLine)
	g := &guest{}
	err := g.run()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bothy: %v\n", err)
	}
	powerOff()
}

// guest is the machine as PID 1 sees it.
type guest struct {
	trace   *tracer
	session *yamux.Session
	disks   *disks
	task    *task
	files   *files
}

// run serves the host until it asks for the end or is gone.
func (g *guest) run() error {
	if err := mountAll(); err != nil {
		return err
	}
	g.trace = newTracer()
	g.trace.mark("file systems")
	uevents, err := listenUevents()
	if err != nil {
		return err
	}
	defer uevents.close()
	modules, err := g.loadModules()
	if err != nil {
		return err
	}
	port, err := openPort(uevents)
	if err != nil {
		return err
	}
	g.trace.mark("port")
	if g.session, err = link.Guest(port); err != nil {
		return err
	}
	defer g.session.Close()
	g.trace.mark("link")
	if err := g.prepare(uevents, modules); err != nil {
		return err
	}
	g.trace.mark("executor")
	return g.serve()
}

// loadModules begins to load the kernel's modules. A machine that cannot load
// one ends.
func (g *guest) loadModules() (*modules, error) {
	m, err := readModules(modulesDir)
	if err != nil {
		return nil, err
	}
	go func() {
		if err := m.load(); err != nil {
			fmt.Fprintf(os.Stderr, "bothy: %v\n", err)
			powerOff()
		}
		g.trace.mark("modules")
	}()
	return m, nil
}

// prepare makes the task service.
func (g *guest) prepare(u *uevents, m *modules) error {
	g.disks = &disks{uevents: u, modules: m}
	networks := &networks{uevents: u, modules: m, trace: g.trace}
	resolve := g.disks.resolve
	service, err := executor.New(executor.Options{
		Root:         executorRoot,
		Filters:      filtersDir,
		Streams:      streams{g.session},
		Trace:        g.trace.mark,
		Reaper:       executor.NewReaper(),
		ResolveMount: resolve,
		Mounted: func(id string) error {
			g.trace.mark("mounted")
			return networks.wait(id)
		},
	})
	if err != nil {
		return err
	}
	g.task = newTask(service, g.trace, networks, streams{g.session})
	g.files = newFiles(service, resolve)
	return nil
}

// serve answers the host until it asks for the end.
func (g *guest) serve() error {
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	taskAPI.RegisterTTRPCTaskService(server, g.task)
	server.RegisterService(link.GuestService, &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		link.OOMKilledMethod: g.task.oomKilled, link.MountFilesMethod: g.files.mount, link.RestMethod: g.rest,
	}})
	calls := newStreamListener(g.session.LocalAddr())
	go g.accept(calls)
	go func() { _ = server.Serve(context.Background(), calls) }()
	select {
	case <-g.task.done:
	case <-g.session.CloseChan():
		return errors.New("the host is gone")
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// accept takes the streams that the host opens, until the session ends.
func (g *guest) accept(calls *streamListener) {
	for {
		stream, err := g.session.AcceptStream()
		if err != nil {
			return
		}
		go g.dispatch(stream, calls)
	}
}

// dispatch reads a stream's header and hands the stream to whom it is for.
func (g *guest) dispatch(stream *yamux.Stream, calls *streamListener) {
	_ = stream.SetReadDeadline(time.Now().Add(headerTimeout))
	h, err := link.ReadHeader(stream)
	_ = stream.SetReadDeadline(time.Time{})
	switch {
	case err == nil && h.Kind == link.Task:
		calls.hand(stream)
	case err == nil && h.Kind == link.Files:
		g.files.serve(h, stream)
	default:
		stream.Close() // the host is of another mind; nothing of it is to be served
	}
}

// streamListener is a listener whose connections are streams.
type streamListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

func newStreamListener(addr net.Addr) *streamListener {
	return &streamListener{conns: make(chan net.Conn), done: make(chan struct{}), addr: addr}
}

// hand gives the listener a connection.
func (l *streamListener) hand(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.done:
		c.Close()
	}
}

func (l *streamListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *streamListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *streamListener) Addr() net.Addr { return l.addr }
