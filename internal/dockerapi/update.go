package dockerapi

import (
	"io"
	"net/http"

	"github.com/moby/moby/api/types/container"
)

func (s *Server) updateContainer(w http.ResponseWriter, r *request) error {
	if err := r.checkJSON(); err != nil {
		return err
	}
	change, err := decodeUpdate(http.MaxBytesReader(w, r.Body, maxBody), r.version)
	if err != nil {
		return err
	}
	updated, err := s.backend.UpdateContainer(r.Context(), r.name(), change)
	if err != nil {
		return err
	}
	if updated.Warnings == nil {
		updated.Warnings = []string{}
	}
	return writeJSON(w, http.StatusOK, updated)
}

// decodeUpdate reads the body of POST /containers/{name}/update. Before API 1.40
// a process limit of 0 said that nothing changes; since then that it goes.
func decodeUpdate(body io.Reader, version APIVersion) (container.UpdateConfig, error) {
	var change container.UpdateConfig
	if err := decodeJSON(body, &change); err != nil {
		return change, err
	}
	if version.before("1.40") && change.PidsLimit != nil && *change.PidsLimit == 0 {
		change.PidsLimit = nil
	}
	return change, nil
}
