package shim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"

	"bothy/internal/executor"
	"bothy/internal/rootfs"
	"bothy/internal/shimapi"
	"bothy/internal/vm"
)

// filesTimeout is how long a shim that has only a container's files waits for a
// request: the engine, which ends it, may have died.
const filesTimeout = time.Minute

// serveFiles serves a connection that an attach request has made one for files,
// until its one request is answered.
func (s *service) serveFiles(conn *net.UnixConn, in *bufio.Reader) {
	defer conn.Close()
	defer s.quiet.begin()()
	t, err := s.find(s.id)
	if err != nil {
		refuse(conn, err)
		return
	}
	if t.filesOnly != nil {
		defer t.filesOnly.begin()()
	}
	_ = conn.SetReadDeadline(time.Time{})
	if _, err := conn.Write(response(shimapi.AttachResponse{})); err != nil {
		return
	}
	t.home.files(context.Background(), conn, rest(in, conn))
}

// executorFiles serves the files of a container of this host.
func executorFiles(open func() (*executor.Files, error)) func(context.Context, *net.UnixConn, io.Reader) {
	return func(ctx context.Context, conn *net.UnixConn, in io.Reader) {
		files, err := open()
		if err != nil {
			rootfs.Refuse(conn, err)
			return
		}
		// An error here is the client's end.
		_ = rootfs.Serve(ctx, conn, in, hostFiles{files})
	}
}

// hostFiles are on a host, which writes to its disk when it likes.
type hostFiles struct{ *executor.Files }

func (hostFiles) Flush() error { return nil }

// machineFiles has a machine's guest serve the files of a container.
func machineFiles(machine *vm.Machine, id string) func(context.Context, *net.UnixConn, io.Reader) {
	return func(_ context.Context, conn *net.UnixConn, in io.Reader) {
		stream, err := machine.Files(id)
		if err != nil {
			rootfs.Refuse(conn, err)
			return
		}
		relayFiles(conn, in, stream)
	}
}

// relayFiles copies between a client and a guest until the guest's end. That the
// client has gone, the guest is told by the end of its input.
func relayFiles(conn io.Writer, in io.Reader, stream io.ReadWriteCloser) {
	go func() {
		_, _ = io.Copy(stream, in)
		_ = stream.Close()
	}()
	if _, err := io.Copy(conn, stream); err != nil {
		_ = stream.Close()
		_, _ = io.Copy(io.Discard, stream) // else the guest waits for somebody to read
	}
}

// filesOnly is a task without a process: it lasts as long as it is asked for
// something.
type filesOnly struct {
	timer *time.Timer
	calls chan int // one value: how many connections there are
}

func newFilesOnly(end func()) *filesOnly {
	f := &filesOnly{calls: make(chan int, 1)}
	f.calls <- 0
	f.timer = time.AfterFunc(filesTimeout, end)
	return f
}

// begin notes a connection, until the result is called.
func (f *filesOnly) begin() (end func()) {
	f.timer.Stop()
	f.calls <- <-f.calls + 1
	return func() {
		left := <-f.calls - 1
		f.calls <- left
		if left == 0 {
			f.timer.Reset(filesTimeout)
		}
	}
}

// createFiles makes a task of a container's files alone.
func (s *service) createFiles(ctx context.Context, req *taskAPI.CreateTaskRequest, opts *shimapi.CreateOptions) (*task, *taskAPI.CreateTaskResponse, error) {
	t := &task{state: opts.StateDir, processes: map[string]*process{}}
	make := processFiles
	if opts.Machine != nil {
		make = machineOfFiles
	}
	o := homeOptions{id: s.id, bundle: s.bundle, rootfs: req.Rootfs, machine: opts.Machine, network: s.network, streams: streams{t}}
	var err error
	if t.home, err = make(ctx, o, opts.Files); err != nil {
		return nil, nil, fmt.Errorf("opening the files of container %s: %w", s.id, err)
	}
	s.closeNetwork()
	t.filesOnly = newFilesOnly(func() {
		if s.endFiles() {
			s.stop()
		}
	})
	return t, &taskAPI.CreateTaskResponse{}, nil
}

// endFiles ends a task of files alone, and says whether there was one.
func (s *service) endFiles() bool {
	s.mu.Lock()
	t := s.task
	if t == nil || t.filesOnly == nil {
		s.mu.Unlock()
		return false
	}
	s.task = nil
	s.mu.Unlock()
	t.filesOnly.timer.Stop()
	t.discard()
	return true
}

// processFiles mounts a container's files on this host, where only this process
// sees them.
func processFiles(_ context.Context, o homeOptions, files *shimapi.FilesOptions) (*home, error) {
	service, err := executor.New(executor.Options{Root: filepath.Join(o.bundle, stateDir), Streams: o.streams})
	if err != nil {
		return nil, err
	}
	m := executor.FileMounts{Bundle: o.bundle, Rootfs: o.rootfs, ReadOnly: files.ReadOnly}
	for _, b := range files.Binds {
		m.Binds = append(m.Binds, executor.FileBind(b))
	}
	mounted, err := executor.MountFiles(m)
	if err != nil {
		return nil, err
	}
	return &home{
		TTRPCTaskService: service,
		files:            executorFiles(func() (*executor.Files, error) { return mounted, nil }),
		oomKilled:        func(context.Context) (bool, error) { return false, nil },
		err:              func() error { return nil },
		close:            func() error { mounted.Close(); return nil },
	}, nil
}

// machineOfFiles starts a machine that does nothing but serve a container's files.
func machineOfFiles(ctx context.Context, o homeOptions, files *shimapi.FilesOptions) (*home, error) {
	group, err := machineGroup(o.bundle, o.id)
	if err != nil {
		return nil, err
	}
	config := vm.Config{ID: o.id, Bundle: o.bundle, Machine: *o.machine, Rootfs: o.rootfs, Streams: o.streams, Started: group.Apply}
	config.Taps, config.Template = splitFiles(o.machine, o.network)
	machine, err := vm.Boot(ctx, config)
	if err != nil {
		return nil, errors.Join(err, group.Destroy())
	}
	h := &home{
		TTRPCTaskService: machine.Task(),
		files:            machineFiles(machine, o.id),
		oomKilled:        func(context.Context) (bool, error) { return false, nil },
		err:              machine.Err,
		close:            func() error { return errors.Join(machine.Close(), group.Destroy()) },
	}
	if err := machine.MountFiles(ctx, o.id, files); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}
