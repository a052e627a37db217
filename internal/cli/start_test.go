package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newFixture returns a starter of an engine that behaves so, what it notices,
// and the directory of both. Engines that were started end with the test.
func newFixture(t *testing.T, behaviour string) (*starter, *lockedBuffer, string) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	engine := filepath.Join(dir, "bothyd-"+behaviour)
	if err := os.Symlink(self, engine); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range starts(t, dir) {
			// Started by us, and not reaped before we end.
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	notice := new(lockedBuffer)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return starterOf(ctx, dir, notice), notice, dir
}

// starterOf returns a starter of the engine in dir.
func starterOf(ctx context.Context, dir string, notice *lockedBuffer) *starter {
	return &starter{
		ctx: ctx, notice: notice, root: true, yield: 100 * time.Millisecond,
		socket: filepath.Join(dir, "engine.sock"), log: filepath.Join(dir, "log"), lock: filepath.Join(dir, "lock"),
		find: func() (string, error) {
			found, err := filepath.Glob(filepath.Join(dir, "bothyd-*"))
			return found[0], err
		},
	}
}

// starts returns the processes that were started as engines in dir.
func starts(t *testing.T, dir string) []int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "starts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var pids []int
	for line := range strings.Lines(string(text)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func TestDialStartsAnEngine(t *testing.T) {
	t.Parallel()
	s, notice, dir := newFixture(t, "serves")
	for range 2 {
		conn, err := s.dial(context.Background(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	pids := starts(t, dir)
	if len(pids) != 1 {
		t.Fatalf("started %d engines", len(pids))
	}
	want := fmt.Sprintf("bothy: started bothyd-serves (pid %d), which logs to %s\n", pids[0], s.log)
	if got := notice.String(); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	if log, err := os.ReadFile(s.log); err != nil || string(log) != "an engine that serves\n" {
		t.Errorf("logged %q, %v", log, err)
	}
	if sid, err := unix.Getsid(pids[0]); err != nil || sid != pids[0] {
		t.Errorf("its session is %d, %v", sid, err)
	}
	if s.problem() != nil {
		t.Error(s.problem())
	}
}

func TestManyDialsStartOneEngine(t *testing.T) {
	t.Parallel()
	_, notice, dir := newFixture(t, "serves")
	var wg sync.WaitGroup
	for range 8 { // as many commands at once
		s := starterOf(context.Background(), dir, notice)
		wg.Go(func() {
			conn, err := s.dial(context.Background(), "", "")
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Close()
		})
	}
	wg.Wait()
	if pids := starts(t, dir); len(pids) != 1 {
		t.Errorf("started %d engines", len(pids))
	}
	if n := strings.Count(notice.String(), "\n"); n != 1 {
		t.Errorf("told %q", notice)
	}
}

func TestStaleSocketIsNoEngine(t *testing.T) {
	t.Parallel()
	s, _, dir := newFixture(t, "fails")
	// Bound and never listening: a listener that another test's fork holds for a
	// moment longer would still take the connection.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: s.socket}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.dial(context.Background(), "", ""); err == nil || len(starts(t, dir)) != 1 {
		t.Errorf("got %v after %d starts", err, len(starts(t, dir)))
	}
}

func TestEngineThatEnds(t *testing.T) {
	t.Parallel()
	s, notice, dir := newFixture(t, "fails")
	if err := os.WriteFile(s.log, []byte("yesterday\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second does not try again
		_, err := s.dial(context.Background(), "", "")
		want := "starting the engine: " + filepath.Join(dir, "bothyd-fails") + " ended: the disk is full (its log is " + s.log + ")"
		if err == nil || err.Error() != want || s.problem().Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if len(starts(t, dir)) != 1 || notice.String() != "" {
		t.Errorf("%d starts, told %q", len(starts(t, dir)), notice)
	}
}

func TestEngineThatHangs(t *testing.T) {
	t.Parallel()
	s, _, _ := newFixture(t, "hangs")
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	s.ctx = ctx
	_, err := s.dial(context.Background(), "", "")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "did not answer") {
		t.Errorf("got %v", err)
	}
}

func TestEngineThatWasSlower(t *testing.T) {
	t.Parallel()
	// Ours ends, because somebody else's is about to serve.
	s, notice, dir := newFixture(t, "fails")
	s.find = func() (string, error) {
		l, err := net.Listen("unix", s.socket)
		if err != nil {
			return "", err
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for range 2 {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
				_ = conn.Close()
			}
		}()
		return filepath.Join(dir, "bothyd-fails"), nil
	}
	conn, err := s.dial(context.Background(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if len(starts(t, dir)) > 1 || notice.String() != "" {
		t.Errorf("%d starts, told %q", len(starts(t, dir)), notice)
	}
}

func TestWhoMayNotStart(t *testing.T) {
	t.Parallel()
	for name, forbid := range map[string]func(*starter){
		"not root": func(s *starter) { s.root = false },
		"disabled": func(s *starter) { s.disable() },
	} {
		s, _, dir := newFixture(t, "serves")
		forbid(s)
		_, err := s.dial(context.Background(), "", "")
		if !errors.Is(err, unix.ENOENT) || len(starts(t, dir)) != 0 {
			t.Errorf("%s: got %v after %d starts", name, err, len(starts(t, dir)))
		}
		want := "no engine answers at unix://" + s.socket + ": start one as root (bothyd, or any bothy command), or name another with -H"
		if got := s.problem(); got == nil || got.Error() != want {
			t.Errorf("%s: the problem is %v, want %s", name, got, want)
		}
	}
}

func TestPermissionDenied(t *testing.T) {
	t.Parallel()
	s, _, _ := newFixture(t, "serves")
	s.note(&net.OpError{Op: "dial", Net: "unix", Err: unix.EACCES})
	if got := s.problem(); got == nil || !strings.Contains(got.Error(), "usermod -aG bothy") {
		t.Errorf("got %v", got)
	}
}

func TestLastLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	for text, want := range map[string]string{
		"old\n":              "it said nothing",
		"old\nnew":           "new",
		"old\none\ntwo\n\n ": "two",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lastLine(path, 4); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
