package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bothy/internal/dockerapi"
)

// Engine is what bothyd serves.
type Engine interface {
	dockerapi.Backend
	// Close ends the engine; containers run on.
	Close() error
}

// Opener makes the engine of a configuration. Its context ends with bothyd.
type Opener func(ctx context.Context, cfg Config, log *slog.Logger) (Engine, error)

// stopTime bounds how long requests in flight may go on once bothyd stops.
const stopTime = 10 * time.Second

// Run serves an engine until ctx ends or a signal says so. What it has made,
// it removes; containers run on.
func Run(ctx context.Context, cfg Config, version string, log *slog.Logger, open Opener) (err error) {
	ctx, stopSignals := watchSignals(ctx, log)
	defer stopSignals()
	syscall.Umask(0o022)

	held, err := claim(cfg)
	defer func() { closeAll(held) }()
	if err != nil {
		return err
	}
	removePidfile, err := writePidfile(cfg.Pidfile)
	if err != nil {
		return err
	}
	defer removePidfile()
	listeners, err := listenAll(cfg)
	defer func() { closeAll(listeners) }()
	if err != nil {
		return err
	}
	engine, err := open(ctx, cfg, log)
	if err != nil {
		return fmt.Errorf("starting the engine: %w", err)
	}
	serveErr := serve(ctx, listeners, dockerapi.New(engine, dockerapi.Options{Log: log, ServerVersion: version}), log)
	if err := engine.Close(); err != nil {
		serveErr = errors.Join(serveErr, fmt.Errorf("closing the engine: %w", err))
	}
	log.Info("stopped; containers run on")
	return serveErr
}

// watchSignals gives a context that ends with SIGTERM or SIGINT. The second of
// them ends the process at once.
func watchSignals(ctx context.Context, log *slog.Logger) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	// SIGPIPE is caught and not ignored: what is ignored stays so in containers.
	other := make(chan os.Signal, 1)
	signal.Notify(other, syscall.SIGHUP, syscall.SIGPIPE)
	go func() {
		for {
			select {
			case s := <-end:
				log.Info("stopping", "signal", s.String())
				signal.Stop(end)
				cancel()
			case s := <-other:
				if s == syscall.SIGHUP {
					log.Warn("bothyd does not reload its configuration: restart it, containers run on")
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() {
		cancel()
		signal.Stop(end)
		signal.Stop(other)
	}
}

// claim locks both roots.
func claim(cfg Config) ([]io.Closer, error) {
	var held []io.Closer
	for _, root := range []struct{ path, flag string }{{cfg.DataRoot, "data-root"}, {cfg.ExecRoot, "exec-root"}} {
		if root.path == cfg.DataRoot && len(held) > 0 {
			return held, errors.New("--data-root and --exec-root are the same directory: choose two")
		}
		lock, err := lockRoot(root.path, root.flag)
		if err != nil {
			return held, err
		}
		held = append(held, lock)
	}
	return held, nil
}

// listenAll opens all sockets. On an error those opened so far are returned.
func listenAll(cfg Config) ([]*net.UnixListener, error) {
	gid, err := socketGroup(cfg.Group)
	if err != nil {
		return nil, err
	}
	var listeners []*net.UnixListener
	for _, host := range cfg.Hosts {
		l, err := listen(filepath.Clean(strings.TrimPrefix(host, "unix://")), gid)
		if err != nil {
			return listeners, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func closeAll[C io.Closer](all []C) {
	for _, c := range all {
		_ = c.Close()
	}
}

// headerTime bounds how long a client may take to send a request's header.
const headerTime = 30 * time.Second

// serve answers on all listeners until ctx ends, and then finishes what was
// begun: streams end at once, other requests get stopTime.
func serve(ctx context.Context, listeners []*net.UnixListener, api *dockerapi.Server, log *slog.Logger) error {
	base, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	server := &http.Server{
		Handler:           api,
		ReadHeaderTimeout: headerTime,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
		log.Info("listening", "socket", l.Addr().String())
	}
	if err := notifySystemd("READY=1"); err != nil {
		log.Warn(err.Error())
	}
	var serveErr error
	select {
	case <-ctx.Done():
	case err := <-failed:
		serveErr = fmt.Errorf("serving the API: %w", err)
	}
	api.Stop()
	grace, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		log.Warn("requests were cut off", "after", stopTime)
		abandon()
		_ = server.Close()
	}
	return serveErr
}
