package engine

import (
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"bothy/internal/engineapi"
)

func (r *rig) createLabelled(name string, labels map[string]string) string {
	r.t.Helper()
	resp, err := r.CreateContainer(r.t.Context(), engineapi.CreateRequest{Name: name, Config: &container.Config{Image: "app:1", Labels: labels}, HostConfig: &container.HostConfig{}})
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.ID
}

func TestPruneContainers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	kept := r.createLabelled("kept", map[string]string{"keep": "yes"})
	other := r.createLabelled("other", map[string]string{"tier": "db"})
	one := r.createLabelled("one", map[string]string{"tier": "web"})
	r.create("live", container.HostConfig{})
	r.start("live")
	r.create("paused", container.HostConfig{})
	r.start("paused")
	if err := r.PauseContainer(ctx, "paused"); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		filters engineapi.Filters
		want    []string
	}{
		{engineapi.Filters{"until": {"24h": true}}, nil},
		{engineapi.Filters{"label": {"tier=web": true}}, []string{one}},
		{engineapi.Filters{"label!": {"keep": true}, "until": {"0s": true}}, []string{other}},
		{nil, []string{kept}},
		{nil, nil},
	} {
		report, err := r.PruneContainers(ctx, step.filters)
		if err != nil || !slices.Equal(report.ContainersDeleted, step.want) {
			t.Errorf("%v: removed %v, %v, want %v", step.filters, report.ContainersDeleted, err, step.want)
		}
	}
	if _, err := r.PruneContainers(ctx, engineapi.Filters{"name": {"x": true}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("an unknown filter: %v", err)
	}
	if _, err := r.PruneContainers(ctx, engineapi.Filters{"until": {"soon": true}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a time that is none: %v", err)
	}
	for _, name := range []string{"live", "paused"} {
		if st := r.state(name); !st.Running {
			t.Errorf("%s: %+v", name, st)
		}
	}
}
