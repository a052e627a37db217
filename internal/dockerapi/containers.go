package dockerapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"

	"github.com/moby/moby/api/types/container"
)

func (s *Server) listContainers(w http.ResponseWriter, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	limit, err := r.integer("limit")
	if err != nil {
		return err
	}
	if limit == nil || *limit < 0 {
		limit = new(int)
	}
	for _, key := range []string{"since", "before"} { // their own parameters, in old clients
		if name := r.query.Get(key); name != "" {
			filters[key] = map[string]bool{name: true}
		}
	}
	list, err := s.backend.ListContainers(r.Context(), r.boolean("all"), *limit, r.boolean("size"), filters)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, legacySummaries(list, r.version))
}

func (s *Server) inspectContainer(w http.ResponseWriter, r *request) error {
	c, err := s.backend.InspectContainer(r.Context(), r.name(), r.boolean("size"))
	if err != nil {
		return err
	}
	answer := legacyContainer(c, r.version)
	if backend, ok := s.backend.(Machines); ok {
		if answer.Machine, err = backend.ContainerMachine(r.Context(), c.ID); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, answer)
}

func (s *Server) startContainer(w http.ResponseWriter, r *request) error {
	if r.query.Get("checkpoint") != "" {
		return notServed("bothy does not start containers from checkpoints yet")
	}
	// Until API 1.22 the body was a HostConfig; it is not silently ignored.
	body, err := io.ReadAll(io.LimitReader(r.Body, 16))
	if err != nil {
		return invalid("reading the request's body: %v", err)
	}
	if text := bytes.TrimSpace(body); len(text) > 0 && string(text) != "{}" && string(text) != "null" {
		return invalid("starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	if err := s.backend.StartContainer(r.Context(), r.name()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) stopContainer(w http.ResponseWriter, r *request) error {
	timeout, err := r.integer("t")
	if err != nil {
		return err
	}
	if err := s.backend.StopContainer(r.Context(), r.name(), r.query.Get("signal"), timeout); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) restartContainer(w http.ResponseWriter, r *request) error {
	timeout, err := r.integer("t")
	if err != nil {
		return err
	}
	if err := s.backend.RestartContainer(r.Context(), r.name(), r.query.Get("signal"), timeout); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) killContainer(w http.ResponseWriter, r *request) error {
	if err := s.backend.KillContainer(r.Context(), r.name(), r.query.Get("signal")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) pauseContainer(w http.ResponseWriter, r *request) error {
	if err := s.backend.PauseContainer(r.Context(), r.name()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) unpauseContainer(w http.ResponseWriter, r *request) error {
	if err := s.backend.UnpauseContainer(r.Context(), r.name()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) renameContainer(w http.ResponseWriter, r *request) error {
	name := r.query.Get("name")
	if name == "" {
		return invalid("give the container's new name, as in ?name=web")
	}
	if err := s.backend.RenameContainer(r.Context(), r.name(), name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) resizeContainer(w http.ResponseWriter, r *request) error {
	height, err := r.dimension("h")
	if err != nil {
		return err
	}
	width, err := r.dimension("w")
	if err != nil {
		return err
	}
	if err := s.backend.ResizeContainer(r.Context(), r.name(), height, width); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// dimension reads a terminal's height or width, in characters.
func (r *request) dimension(key string) (uint16, error) {
	n, err := r.integer(key)
	if err != nil {
		return 0, err
	}
	if n == nil || *n < 0 || *n > math.MaxUint16 {
		return 0, invalid("%s must be a number from 0 to %d", key, math.MaxUint16)
	}
	return uint16(*n), nil
}

func (s *Server) removeContainer(w http.ResponseWriter, r *request) error {
	if r.boolean("link") {
		return notServed("bothy does not have links between containers yet")
	}
	if err := s.backend.RemoveContainer(r.Context(), r.name(), r.boolean("force"), r.boolean("v")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) pruneContainers(w http.ResponseWriter, r *request) error {
	filters, err := r.filters()
	if err != nil {
		return err
	}
	report, err := s.backend.PruneContainers(r.Context(), filters)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, report)
}

// waitContainer answers its headers as soon as the wait is registered, which is
// what a client waits for before it starts the container.
func (s *Server) waitContainer(w http.ResponseWriter, r *request) error {
	early := !r.version.before("1.30")
	condition := container.WaitConditionNotRunning
	if v := r.query.Get("condition"); v != "" && early {
		condition = container.WaitCondition(v)
		switch condition {
		case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
		default:
			return invalid("invalid condition: %q", v)
		}
	}
	done, err := s.backend.WaitContainer(r.Context(), r.name(), condition)
	if err != nil {
		return err
	}
	if early {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
	}
	answer, ok := <-done
	if !ok {
		if r.Context().Err() != nil {
			return r.Context().Err()
		}
		answer = container.WaitResponse{StatusCode: -1, Error: &container.WaitExitError{Message: "the engine stopped waiting for the container"}}
	}
	if !early {
		if answer.Error != nil {
			return errors.New(answer.Error.Message)
		}
		return writeJSON(w, http.StatusOK, answer)
	}
	return json.NewEncoder(w).Encode(answer)
}
