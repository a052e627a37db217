package dockerapi

import (
	"encoding/json"
	"net/http"

	"github.com/moby/moby/api/types/container"
)

func (s *Server) containerTop(w http.ResponseWriter, r *request) error {
	top, err := s.backend.ContainerTop(r.Context(), r.name(), r.query.Get("ps_args"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, top)
}

// containerStats sends samples, one JSON object a line; without stream, one.
func (s *Server) containerStats(w http.ResponseWriter, r *request) error {
	req := StatsRequest{Stream: r.booleanOr("stream", true), OneShot: r.boolean("one-shot") && !r.version.before("1.41")}
	if req.Stream && req.OneShot {
		return invalid("cannot have stream=true and one-shot=true")
	}
	enc, rc := json.NewEncoder(w), http.NewResponseController(w)
	started := false
	err := s.backend.ContainerStats(r.Context(), r.name(), req, func(sample *container.StatsResponse) error {
		if !started {
			started = true
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusOK)
		}
		if err := enc.Encode(sample); err != nil {
			return err
		}
		return rc.Flush()
	})
	if started && r.Context().Err() != nil {
		return nil
	}
	return err
}
