// Package dockerapi serves the Docker Engine API over HTTP: it decodes a
// request, calls the engine through the interfaces in backend.go, maps the
// error's kind to a status, and encodes the answer in the shape that the
// client's API version has.
//
// It knows no store, no container runtime and no network, and it holds no
// state but its configuration.
package dockerapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

// Backend is all that the API is served from.
type Backend interface {
	System
	Images
	Containers
	Execs
	Usage
	Files
}

// Options configure a Server.
type Options struct {
	// Log gets what clients cannot be told: panics, 5xx, and at debug level
	// each request. Nil: slog's default.
	Log *slog.Logger
	// ServerVersion names the engine's build in the Server header.
	ServerVersion string
}

// Server is the API's http.Handler.
type Server struct {
	backend Backend
	log     *slog.Logger
	server  string // the Server header
	routes  []route
	stopped context.Context // ends all streams
	stop    context.CancelFunc
}

// New gives the API over backend.
func New(backend Backend, opts Options) *Server {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	s := &Server{
		backend: backend,
		log:     opts.Log,
		server:  fmt.Sprintf("bothy/%s (%s)", opts.ServerVersion, runtime.GOOS),
	}
	s.stopped, s.stop = context.WithCancel(context.Background())
	s.routes = s.table()
	return s
}

// Stop ends the answers that would otherwise go on until their client leaves:
// events, followed logs, waits, attached stdio. It may be called twice.
func (s *Server) Stop() { s.stop() }

// streaming makes a handler's context end with Stop.
func (s *Server) streaming(handle handler) handler {
	return func(w http.ResponseWriter, r *request) error {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.stopped, cancel)()
		r.Request = r.WithContext(ctx)
		return handle(w, r)
	}
}

// ServeHTTP finds the request's handler, runs it, and turns its error into an
// answer.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tw := &trackingWriter{ResponseWriter: w}
	defer s.recoverPanic(tw, r)
	h := w.Header()
	h.Set("Server", s.server)
	h.Set("Api-Version", string(maxVersion))
	h.Set("Ostype", runtime.GOOS)
	h.Set("Docker-Experimental", "false")
	s.log.Debug("request", "method", r.Method, "path", r.URL.Path)
	if err := s.serve(tw, r); err != nil {
		s.fail(tw, r, err)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	if len(r.URL.RawQuery) > maxQuery || len(r.URL.Path) > maxPath {
		return invalid("the request's path is longer than %d or its query longer than %d bytes", maxPath, maxQuery)
	}
	version, path, err := splitVersion(r.URL.Path)
	if err != nil {
		return err
	}
	handle, vars := s.match(r.Method, path)
	if handle == nil {
		return errPageNotFound
	}
	if err := version.supported(); err != nil {
		return err
	}
	req, err := newRequest(r, version, vars)
	if err != nil {
		return err
	}
	return handle(w, req)
}

// fail answers with err unless an answer has begun, or the client has left.
func (s *Server) fail(w *trackingWriter, r *http.Request, err error) {
	status := statusOf(err)
	switch {
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil, errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		s.log.Debug("the client left", "method", r.Method, "path", r.URL.Path)
	case status >= http.StatusInternalServerError && status != http.StatusNotImplemented && status != http.StatusServiceUnavailable:
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if w.started {
		return
	}
	writeError(w, status, err)
}

// recoverPanic keeps one bad request from ending the engine.
func (s *Server) recoverPanic(w *trackingWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	s.log.Error("panic while serving", "method", r.Method, "path", r.URL.Path,
		"panic", fmt.Sprint(p), "stack", strings.TrimSpace(string(debug.Stack())))
	if !w.started {
		writeError(w, http.StatusInternalServerError, errors.New("bothyd met an unexpected state while serving this request; its log has the details"))
	}
}

// trackingWriter remembers whether an answer has begun: headers sent, or the
// connection taken over.
type trackingWriter struct {
	http.ResponseWriter
	started bool
}

func (w *trackingWriter) WriteHeader(status int) {
	w.started = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *trackingWriter) Write(p []byte) (int, error) {
	w.started = true
	return w.ResponseWriter.Write(p)
}

// Hijack ends the answering: what follows is the taker's.
func (w *trackingWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.started = w.started || err == nil
	return conn, buffered, err
}

// Unwrap is for http.ResponseController: Flush, EnableFullDuplex, deadlines.
func (w *trackingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
