package engine

import (
	"context"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	dockernet "github.com/moby/moby/api/types/network"

	"bothy/internal/engineapi"
)

// Networks answers for networks in docker's words. There are three, and they
// are there always.
type Networks struct {
	store      interface{ List() []dockernet.Inspect }
	containers *Containers
}

// ListNetworks lists the networks that match, by name.
func (s *Networks) ListNetworks(_ context.Context, filters engineapi.Filters) ([]dockernet.Inspect, error) {
	var list []dockernet.Inspect
	for _, n := range s.all() {
		ok, err := matchNetworkFilters(&n, filters)
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, n)
		}
	}
	return list, nil
}

// InspectNetwork finds a network by its full ID, its name, or a unique prefix
// of its ID.
func (s *Networks) InspectNetwork(_ context.Context, ref string) (*dockernet.Inspect, error) {
	var byPrefix []dockernet.Inspect
	for _, n := range s.all() {
		if n.ID == ref || n.Name == ref {
			return &n, nil
		}
		if ref != "" && strings.HasPrefix(n.ID, ref) {
			byPrefix = append(byPrefix, n)
		}
	}
	switch len(byPrefix) {
	case 0:
		return nil, failure(errdefs.ErrNotFound, "network %s not found", ref)
	case 1:
		return &byPrefix[0], nil
	}
	return nil, failure(errdefs.ErrInvalidArgument, "network %s is ambiguous (%d matches found based on ID prefix)", ref, len(byPrefix))
}

// all gives the networks with their containers' names.
func (s *Networks) all() []dockernet.Inspect {
	list := s.store.List()
	for _, n := range list {
		for id, e := range n.Containers {
			c, err := s.containers.index.find(id)
			if err != nil {
				continue // it is being removed
			}
			rec, _ := c.snapshot()
			e.Name = rec.Name
			n.Containers[id] = e
		}
	}
	return list
}

func matchNetworkFilters(n *dockernet.Inspect, filters engineapi.Filters) (bool, error) {
	all := true
	for key, values := range filters {
		hit := len(values) == 0
		for value := range values {
			ok, err := matchNetworkFilter(n, key, value)
			if err != nil {
				return false, err
			}
			hit = hit || ok
		}
		all = all && hit
	}
	return all, nil
}

func matchNetworkFilter(n *dockernet.Inspect, key, value string) (bool, error) {
	switch key {
	case "name":
		return strings.Contains(n.Name, value), nil
	case "id":
		return strings.HasPrefix(n.ID, value), nil
	case "driver":
		return n.Driver == value, nil
	case "scope":
		return n.Scope == value, nil
	case "label":
		return matchLabel(n.Labels, value), nil
	case "type":
		if value != "builtin" && value != "custom" {
			return false, failure(errdefs.ErrInvalidArgument, "invalid filter: 'type'='%s'", value)
		}
		return value == "builtin", nil
	case "dangling":
		want, err := strconv.ParseBool(value)
		if err != nil {
			return false, failure(errdefs.ErrInvalidArgument, "invalid filter 'dangling=%s'", value)
		}
		return !want, nil // those that are there always never dangle
	}
	return false, failure(errdefs.ErrInvalidArgument, "invalid filter '%s'", key)
}
