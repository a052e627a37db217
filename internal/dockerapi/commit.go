package dockerapi

import (
	"bytes"
	"io"
	"net/http"

	"github.com/moby/moby/api/types/container"
)

func (s *Server) commitContainer(w http.ResponseWriter, r *request) error {
	ref, err := importReference(r.query.Get("repo"), r.query.Get("tag"))
	if err != nil {
		return err
	}
	cfg, err := r.commitConfig(w)
	if err != nil {
		return err
	}
	id, err := s.backend.CommitContainer(r.Context(), CommitRequest{
		Container: r.query.Get("container"),
		Ref:       ref,
		Author:    r.query.Get("author"),
		Comment:   r.query.Get("comment"),
		Changes:   r.query["changes"],
		Config:    cfg,
		Pause:     r.booleanOr("pause", true),
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, container.CommitResponse{ID: id})
}

// commitConfig reads the settings that a client may send along; nil: none.
func (r *request) commitConfig(w http.ResponseWriter) (*container.Config, error) {
	if err := r.checkJSON(); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, jsonError(err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	var cfg *container.Config
	if err := decodeJSON(bytes.NewReader(data), &cfg); err != nil {
		return nil, err
	}
	return cfg, nil
}
