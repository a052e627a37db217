package dockerapi

import (
	"net/http"

	"github.com/moby/moby/api/types/registry"
)

// login checks what a client is about to keep as a registry's credentials.
func (s *Server) login(w http.ResponseWriter, r *request) error {
	if err := r.checkJSON(); err != nil {
		return err
	}
	var auth registry.AuthConfig
	if err := decodeJSON(http.MaxBytesReader(w, r.Body, maxAuth), &auth); err != nil {
		return err
	}
	if err := s.backend.Login(r.Context(), auth.ServerAddress, &auth); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, registry.AuthResponse{Status: "Login Succeeded"})
}
