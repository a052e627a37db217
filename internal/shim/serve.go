package shim

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"

	"bothy/internal/shimapi"
)

const (
	// goodbyeTimeout bounds the time in which the last answers go out.
	goodbyeTimeout = 2 * time.Second
	// lingerTimeout bounds how long a shim whose container is gone stays for
	// clients that have not yet read all output.
	lingerTimeout = 10 * time.Minute
)

// Options say what a shim serves.
type Options struct {
	ID      string // the container's
	Bundle  string // absolute path
	Version string // this build's
}

// Serve is a shim's life: from the descriptors that the engine has opened (see
// shimapi) until its container is deleted and Shutdown was called, or nobody
// asks for a container. It changes this process for good: its mounts, its
// signals, its descriptors.
func Serve(ctx context.Context, o Options) error {
	return serve(ctx, o, hostHome)
}

func serve(ctx context.Context, o Options, home newHome) error {
	if o.ID == "" || !filepath.IsAbs(o.Bundle) {
		return fmt.Errorf("a shim needs an id and the absolute path of a bundle: %w", errdefs.ErrInvalidArgument)
	}
	files, err := comeUp(shimapi.NetworkFD)
	if err != nil {
		return err
	}
	if err := keepPid(o.Bundle); err != nil {
		return err
	}
	s := newService(o.ID, o.Bundle, o.Version, files[shimapi.NetworkFD-3:], home)
	return s.serve(ctx, files[shimapi.TaskListenerFD-3], files[shimapi.AttachListenerFD-3])
}

// comeUp makes this process a shim and takes over the descriptors that it was
// started with, which are those below least at the fewest.
func comeUp(least int) ([]*os.File, error) {
	keepSignals()
	boundLibraryLog(os.Stderr)
	setName()
	files, err := inherited(least)
	if err != nil {
		return nil, err
	}
	// What is mounted here must not be seen on the host; what the host unmounts
	// must not be kept here.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return nil, fmt.Errorf("separating the mounts from the host's: %w", err)
	}
	return files, nil
}

// keepPid writes this process's id to the bundle.
func keepPid(bundle string) error {
	if err := writeFile(filepath.Join(bundle, shimapi.PidFile), []byte(strconv.Itoa(os.Getpid())+"\n"), false); err != nil {
		return fmt.Errorf("keeping the process id: %w", err)
	}
	return nil
}

// serve answers on the two listeners until the shim is to end.
func (s *service) serve(ctx context.Context, taskFile, attachFile *os.File) error {
	task, err := listener(taskFile)
	if err != nil {
		return fmt.Errorf("taking over the task service's listener: %w", err)
	}
	attach, err := listener(attachFile)
	if err != nil {
		return fmt.Errorf("taking over the attach listener: %w", err)
	}
	s.quiet = newQuiet()
	server, err := ttrpc.NewServer(ttrpc.WithChainUnaryServerInterceptor(s.quiet.intercept, errorKinds))
	if err != nil {
		return err
	}
	taskAPI.RegisterTTRPCTaskService(server, s)
	go s.serveAttach(attach)
	go func() {
		if err := server.Serve(ctx, task); err != nil && !errors.Is(err, ttrpc.ErrServerClosed) {
			log.Printf("serving the task service: %v", err)
			s.stop()
		}
	}()
	select {
	case <-s.stopped:
	case <-ctx.Done():
	}
	goodbye(context.WithoutCancel(ctx), server)
	_ = attach.Close()
	s.linger()
	return nil
}

// goodbye lets the last answers go out.
func goodbye(ctx context.Context, server *ttrpc.Server) {
	for deadline := time.Now().Add(goodbyeTimeout); time.Now().Before(deadline); {
		// Shutdown looks for connections that have become idle only at its
		// start and then rarely.
		try, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
		err := server.Shutdown(try)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			return
		}
	}
	_ = server.Close() // somebody still waits for an answer
}

// linger waits for clients that still read output.
func (s *service) linger() {
	deadline := time.After(lingerTimeout)
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	for _, streams := range ended {
		for _, c := range streams.remaining() {
			select {
			case <-c.gone:
			case <-deadline:
				return
			}
		}
	}
}

// setName gives this process its program's name, at most 15 bytes, where it is
// listed: started from a descriptor, it has that one's number.
func setName() { _ = os.WriteFile("/proc/self/comm", []byte("containerd-shim"), 0) }

// keepSignals makes the shim live on where a signal is meant for a terminal's
// or the engine's processes. The signals are caught, not ignored: what is
// ignored would be so in the container, too.
func keepSignals() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE)
}

// inherited takes the open descriptors from 3 on, which no child shall have. There
// must be all those below least.
func inherited(least int) ([]*os.File, error) {
	var files []*os.File
	for fd := uintptr(3); ; fd++ {
		flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			break
		}
		unix.CloseOnExec(int(fd))
		files = append(files, os.NewFile(fd, "fd"+strconv.Itoa(int(fd))))
	}
	if len(files) < least-3 {
		return nil, fmt.Errorf("a shim is started by the engine, with its sockets open: %w", errdefs.ErrInvalidArgument)
	}
	return files, nil
}

// listener takes a listening socket over.
func listener(file *os.File) (*net.UnixListener, error) {
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	unixListener, ok := l.(*net.UnixListener)
	if !ok {
		_ = l.Close()
		return nil, fmt.Errorf("the file is no listening unix socket: %w", errdefs.ErrInvalidArgument)
	}
	return unixListener, nil
}

// errorKinds sends an error's kind along with its text.
func errorKinds(ctx context.Context, unmarshal ttrpc.Unmarshaler, _ *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
	resp, err := method(ctx, unmarshal)
	return resp, errgrpc.ToGRPC(err)
}
