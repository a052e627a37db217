package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Where the engine listens by default, and where one that we start logs.
const (
	DefaultHost = "unix://" + socketPath
	socketPath  = "/run/bothy/bothy.sock"
	logPath     = "/var/log/bothyd.log"
)

// Times around the start of an engine.
const (
	startTime = 10 * time.Second      // until it must answer
	pollTime  = 10 * time.Millisecond // between two looks
	yieldTime = 2 * time.Second       // of starter.yield
)

// starter connects to the engine at the default socket and starts it, once,
// where none listens.
type starter struct {
	ctx    context.Context // the process's: requests have shorter ones
	socket string
	log    string
	lock   string                 // file that is locked while an engine is being started
	root   bool                   // whether the user may start one
	find   func() (string, error) // the path of bothyd
	notice io.Writer              // is told of the start
	// yield is how long another engine may take to answer after ours has ended:
	// it may have done so because that one was first.
	yield time.Duration

	mu     sync.Mutex
	off    bool
	done   bool  // a start was tried
	result error // of that start, or of the last attempt to connect
}

func newStarter(ctx context.Context, notice io.Writer) *starter {
	return &starter{
		ctx: ctx, socket: socketPath, log: logPath, lock: filepath.Join(filepath.Dir(socketPath), "start.lock"),
		root: os.Geteuid() == 0, find: findEngine, notice: notice, yield: yieldTime,
	}
}

// disable makes the starter connect only.
func (s *starter) disable() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = true
}

func (s *starter) enabled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.off
}

// problem returns why there is no connection, as the user should hear it, or
// nil.
func (s *starter) problem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.result
}

// dial connects to the engine; it is a client's dialer, and ignores the
// address because it is used for one only.
func (s *starter) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := s.connect(ctx)
	if err == nil || !nobodyListens(err) {
		s.note(err)
		return conn, err
	}
	if s.enabled() && s.root {
		if err := s.start(); err != nil {
			return nil, err
		}
		conn, err = s.connect(ctx)
	}
	s.note(err)
	return conn, err
}

func (s *starter) connect(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", s.socket)
}

func nobodyListens(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED)
}

// note keeps what is to be said about the outcome of connecting.
func (s *starter) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.result = nil
	case errors.Is(err, fs.ErrPermission):
		s.result = fmt.Errorf("permission denied at %s: use sudo, or join the group bothy (as root: usermod -aG bothy %s) and log in again", s.socket, userName())
	case nobodyListens(err):
		s.result = fmt.Errorf("no engine answers at unix://%s: start one as root (bothyd, or any bothy command), or name another with -H", s.socket)
	default:
		s.result = fmt.Errorf("connecting to unix://%s: %w", s.socket, err)
	}
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "USER"
}

// start starts an engine and waits until it answers. Only the first call does
// something; all return its result.
func (s *starter) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return s.result
	}
	s.done = true
	ctx, cancel := context.WithTimeout(s.ctx, startTime)
	defer cancel()
	if err := s.startLocked(ctx); err != nil {
		s.result = fmt.Errorf("starting the engine: %w", err)
	}
	return s.result
}

// startLocked starts an engine while no other bothy does.
func (s *starter) startLocked(ctx context.Context) error {
	if !s.root {
		return fmt.Errorf("only root can")
	}
	if err := os.MkdirAll(filepath.Dir(s.lock), 0o711); err != nil {
		return err
	}
	lock, err := os.OpenFile(s.lock, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	err = poll(ctx, nil, func() bool {
		return unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
	})
	if err != nil {
		return errors.New("another bothy command has been starting one for too long")
	}
	if _, ok := s.answers(ctx); ok {
		return nil
	}
	return s.launch(ctx)
}

// launch runs bothyd in the background until it answers.
func (s *starter) launch(ctx context.Context) error {
	path, err := s.find()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("opening its log: %w", err)
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("opening its log: %w", err)
	}
	engine := exec.Command(path)
	engine.Dir = "/"
	engine.Stdout, engine.Stderr = log, log
	engine.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := engine.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = engine.Wait() // that it ended says enough
		close(ended)
	}()

	var pid int
	err = poll(ctx, ended, func() (ok bool) {
		pid, ok = s.answers(ctx)
		return ok
	})
	switch {
	case err == nil && pid != engine.Process.Pid:
		return nil // somebody else's was first, and ours will end
	case err == nil:
		fmt.Fprintf(s.notice, "bothy: started %s (pid %d), which logs to %s\n", filepath.Base(path), engine.Process.Pid, s.log)
		return nil
	case errors.Is(err, errEnded):
		other, cancel := context.WithTimeout(ctx, s.yield)
		defer cancel()
		if poll(other, nil, func() bool { _, ok := s.answers(other); return ok }) == nil {
			return nil
		}
		return fmt.Errorf("%s ended: %s (its log is %s)", path, lastLine(s.log, begin), s.log)
	}
	return fmt.Errorf("%s (pid %d) did not answer at %s within %s: %w (its log is %s)", path, engine.Process.Pid, s.socket, startTime, err, s.log)
}

// answers reports whether an engine serves requests at the socket, and its
// process.
func (s *starter) answers(ctx context.Context) (pid int, ok bool) {
	conn, err := s.connect(ctx)
	if err != nil {
		return 0, false
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, "GET /_ping HTTP/1.1\r\nHost: bothy\r\nConnection: close\r\n\r\n"); err != nil {
		return 0, false
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, false
	}
	_ = resp.Body.Close()
	return peer(conn), true
}

// peer returns the process at the other end of a Unix socket, 0 if unknown.
func peer(conn net.Conn) int {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) { // pid stays 0
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

// errEnded is poll's error when the channel was closed.
var errEnded = errors.New("ended")

// poll calls ready until it is true, ctx ends, or ended (which may be nil) is
// closed.
func poll(ctx context.Context, ended <-chan struct{}, ready func() bool) error {
	tick := time.NewTicker(pollTime)
	defer tick.Stop()
	for {
		if ready() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ended:
			return errEnded
		case <-tick.C:
		}
	}
}

// findEngine returns the path of bothyd: beside this program, else in PATH.
func findEngine() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), "bothyd")
	if path, err := exec.LookPath(beside); err == nil {
		return path, nil
	}
	path, err := exec.LookPath("bothyd")
	if err != nil {
		return "", fmt.Errorf("bothyd is neither beside %s nor in PATH: install it, or name another engine with -H", self)
	}
	return path, nil
}

// lastLine returns the last line that was written to the file at path behind
// offset, or a word that says there is none.
func lastLine(path string, offset int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, offset, 1<<20))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return "it said nothing"
}
