package dockerapi

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/container"
)

func (s *Server) createExec(w http.ResponseWriter, r *request) error {
	if err := r.checkJSON(); err != nil {
		return err
	}
	var body execBody
	if err := decodeJSON(http.MaxBytesReader(w, r.Body, maxBody), &body); err != nil {
		return err
	}
	req := body.ExecCreateRequest
	req.Cmd = body.Cmd
	req.ConsoleSize = consoleSize(r.version, req.Tty, req.ConsoleSize)
	id, err := s.backend.CreateExec(r.Context(), r.name(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, container.ExecCreateResponse{ID: id})
}

// execBody is the body of POST /containers/{name}/exec: a command may be one
// string, as at a container's creation.
type execBody struct {
	container.ExecCreateRequest
	Cmd words
}

// consoleSize is a terminal's first size: there is none without a terminal, nor
// before API 1.42.
func consoleSize(version APIVersion, tty bool, size *[2]uint) *[2]uint {
	if !tty || version.before("1.42") {
		return nil
	}
	return size
}

// startExec starts a prepared process and, unless it is to run by itself, joins
// the client's connection to its stdio.
func (s *Server) startExec(w http.ResponseWriter, r *request) error {
	if err := r.checkJSON(); err != nil {
		return err
	}
	var body container.ExecStartRequest
	if err := decodeJSON(http.MaxBytesReader(w, r.Body, maxBody), &body); err != nil {
		return err
	}
	start := ExecStart{Detach: body.Detach, TTY: body.Tty, ConsoleSize: consoleSize(r.version, body.Tty, body.ConsoleSize)}
	if body.Detach {
		if err := s.backend.StartExec(r.Context(), r.name(), start); err != nil {
			return err
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return s.hijacking(w, r, func(ctx context.Context, open func(tty bool) (Conn, error)) error {
		start.Open = open
		return s.backend.StartExec(ctx, r.name(), start)
	})
}

func (s *Server) resizeExec(w http.ResponseWriter, r *request) error {
	height, err := r.dimension("h")
	if err != nil {
		return err
	}
	width, err := r.dimension("w")
	if err != nil {
		return err
	}
	if err := s.backend.ResizeExec(r.Context(), r.name(), height, width); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) inspectExec(w http.ResponseWriter, r *request) error {
	e, err := s.backend.InspectExec(r.Context(), r.name())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, e)
}
