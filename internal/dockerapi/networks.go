package dockerapi

import (
	"net/http"

	"github.com/moby/moby/api/types/network"
)

func (s *Server) listNetworks(w http.ResponseWriter, r *request) error {
	backend, ok := s.backend.(Networks)
	if !ok {
		return notServed("bothy does not list networks yet")
	}
	filters, err := r.filters()
	if err != nil {
		return err
	}
	list, err := backend.ListNetworks(r.Context(), filters)
	if err != nil {
		return err
	}
	for i := range list {
		completeNetwork(&list[i])
	}
	if list == nil {
		list = []network.Inspect{}
	}
	return writeJSON(w, http.StatusOK, list)
}

func (s *Server) inspectNetwork(w http.ResponseWriter, r *request) error {
	backend, ok := s.backend.(Networks)
	if !ok {
		return notServed("bothy does not list networks yet")
	}
	n, err := backend.InspectNetwork(r.Context(), r.name())
	if err != nil {
		return err
	}
	completeNetwork(n)
	return writeJSON(w, http.StatusOK, n)
}

// completeNetwork makes objects of what clients index without a look.
func completeNetwork(n *network.Inspect) {
	if n.Containers == nil {
		n.Containers = map[string]network.EndpointResource{}
	}
	if n.Options == nil {
		n.Options = map[string]string{}
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Status = nil // API 1.52 and later
}
