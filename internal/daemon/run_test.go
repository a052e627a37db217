package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"bothy/internal/dockerapi"
)

// quiet is an engine in which nothing happens.
type quiet struct {
	dockerapi.Backend
	closed chan struct{}
}

func (q *quiet) Subscribe(context.Context, time.Time, time.Time, dockerapi.Filters) ([]events.Message, <-chan events.Message, error) {
	return nil, make(chan events.Message), nil
}

func (q *quiet) Close() error {
	close(q.closed)
	return nil
}

// roots gives a configuration in a directory of its own, short enough for
// sockets.
func roots(t *testing.T) Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "bd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cfg := Defaults()
	cfg.DataRoot, cfg.ExecRoot, cfg.Pidfile = filepath.Join(dir, "data"), filepath.Join(dir, "run"), filepath.Join(dir, "pid")
	cfg.Hosts = []string{"unix://" + filepath.Join(dir, "s"), "unix://" + filepath.Join(dir, "s2")}
	cfg.Group = ""
	if err := cfg.complete(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the socket's owner is set")
	}
}

// start runs a daemon until the test ends or the result is called, which gives
// Run's error.
func start(t *testing.T, cfg Config) (*quiet, func() error) {
	t.Helper()
	q := &quiet{closed: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	opened := make(chan struct{})
	go func() {
		done <- Run(ctx, cfg, "test", slog.New(slog.DiscardHandler), func(context.Context, Config, *slog.Logger) (Engine, error) {
			close(opened)
			return q, nil
		})
	}()
	select {
	case <-opened:
	case err := <-done:
		t.Fatal(err)
	}
	stop := func() error {
		cancel()
		return <-done
	}
	return q, stop
}

func TestRunServesAndCleansUp(t *testing.T) {
	needRoot(t)
	cfg := roots(t)
	q, stop := start(t, cfg)
	for _, host := range cfg.Hosts {
		path := strings.TrimPrefix(host, "unix://")
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o660 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
		c, err := client.New(client.WithHost(host))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Ping(t.Context(), client.PingOptions{}); err != nil {
			t.Error(err)
		}
		_ = c.Close()
	}
	if pid, err := os.ReadFile(cfg.Pidfile); err != nil || string(pid) != strconv.Itoa(os.Getpid()) {
		t.Errorf("pid file %q, %v", pid, err)
	}
	// A client that listens to events does not hold the daemon back.
	c, err := client.New(client.WithHost(cfg.Hosts[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stream := c.Events(t.Context(), client.EventsListOptions{})
	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > stopTime/2 {
		t.Errorf("stopping took %v", took)
	}
	<-stream.Err
	<-q.closed
	for _, path := range []string{cfg.Pidfile, strings.TrimPrefix(cfg.Hosts[0], "unix://"), strings.TrimPrefix(cfg.Hosts[1], "unix://")} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	_, again := start(t, cfg)
	if err := again(); err != nil {
		t.Errorf("a second run on the same roots: %v", err)
	}
}

func TestRunRefusesWhatIsInUse(t *testing.T) {
	needRoot(t)
	cfg := roots(t)
	_, stop := start(t, cfg)
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	other := roots(t)
	for name, change := range map[string]func(*Config){
		"another bothyd (pid " + strconv.Itoa(os.Getpid()) + ") is using " + cfg.DataRoot + ": stop it, or choose another --data-root": func(c *Config) { c.DataRoot = cfg.DataRoot },
		"is using " + cfg.ExecRoot + ": stop it, or choose another --exec-root":                                                        func(c *Config) { c.ExecRoot = cfg.ExecRoot },
		"something is listening on " + strings.TrimPrefix(cfg.Hosts[0], "unix://"):                                                     func(c *Config) { c.Hosts = cfg.Hosts },
		"the same directory":         func(c *Config) { c.DataRoot = c.ExecRoot },
		"there is no such group":     func(c *Config) { c.Group = "no-such-group" },
		"exists and is no socket":    func(c *Config) { c.Hosts = []string{"unix://" + cfg.Pidfile} },
		"starting the engine: it is": func(*Config) {},
	} {
		bad := other
		change(&bad)
		err := Run(t.Context(), bad, "test", slog.New(slog.DiscardHandler), func(context.Context, Config, *slog.Logger) (Engine, error) {
			return nil, errors.New("it is ill")
		})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %q", err, name)
		}
		if _, err := os.Lstat(other.Pidfile); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the pid file stays: %v", name, err)
		}
	}
	if c, err := net.Dial("unix", strings.TrimPrefix(cfg.Hosts[0], "unix://")); err != nil {
		t.Errorf("the first daemon's socket: %v", err)
	} else {
		_ = c.Close()
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	needRoot(t)
	cfg := roots(t)
	path := strings.TrimPrefix(cfg.Hosts[0], "unix://")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	// The number of a process that is no bothyd is no reason to refuse.
	if err := os.WriteFile(cfg.Pidfile, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop := start(t, cfg)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestSignalStopsRun(t *testing.T) {
	needRoot(t)
	cfg := roots(t)
	q := &quiet{closed: make(chan struct{})}
	err := Run(t.Context(), cfg, "test", slog.New(slog.DiscardHandler), func(context.Context, Config, *slog.Logger) (Engine, error) {
		for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				return nil, err
			}
		}
		return q, nil
	})
	if err != nil {
		t.Error(err)
	}
	<-q.closed
}

func TestNotifySystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := notifySystemd("READY=1"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := l.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notifySystemd("READY=1"); err != nil {
		t.Error(err)
	}
}

var _ http.Handler = (*dockerapi.Server)(nil)
