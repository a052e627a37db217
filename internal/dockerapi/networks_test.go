package dockerapi

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
)

// networked is an engine with one network.
type networked struct{ fake }

func (*networked) ListNetworks(_ context.Context, filters Filters) ([]network.Inspect, error) {
	if filters["name"]["none"] {
		return nil, nil
	}
	return []network.Inspect{{Network: network.Network{Name: "bridge", ID: "1"}}}, nil
}

func (*networked) InspectNetwork(_ context.Context, ref string) (*network.Inspect, error) {
	if ref != "bridge" {
		return nil, fmt.Errorf("network %s not found: %w", ref, errdefs.ErrNotFound)
	}
	return &network.Inspect{Network: network.Network{Name: "bridge", ID: "1"}}, nil
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	s := New(&networked{}, Options{})
	for path, want := range map[string]string{
		"/networks": `[{"Name":"bridge",`,
		"/networks?filters=%7B%22name%22%3A%5B%22none%22%5D%7D": "[]\n",
		"/networks/": `[{"Name":"bridge",`,
		"/v1.30/networks/bridge?verbose=false&scope=": `{"Name":"bridge",`,
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || !strings.HasPrefix(w.Body.String(), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if strings.HasPrefix(want, "{") && !strings.Contains(w.Body.String(), `"Containers":{}`) {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/networks/x", nil))
	if w.Code != 404 {
		t.Errorf("a network that is not there: %d %s", w.Code, w.Body)
	}
}
