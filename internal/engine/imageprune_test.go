package engine

import (
	"context"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"bothy/internal/engineapi"
	"bothy/internal/image"
)

// Remove takes the fake's image away by its ID.
func (f *fakeImages) Remove(_ context.Context, ref string, opts image.RemoveOptions) ([]image.Removed, error) {
	if ref != f.img.ID.String() {
		return nil, failure(errdefs.ErrNotFound, "No such image: %s", ref)
	}
	if len(opts.InUse(f.img.ID)) > 0 {
		return nil, failure(errdefs.ErrConflict, "it is in use")
	}
	f.removed.Store(true)
	return []image.Removed{{Deleted: ref}}, nil
}

func TestPruneImages(t *testing.T) {
	t.Parallel()
	all := engineapi.Filters{"dangling": {"false": true}}
	for name, c := range map[string]struct {
		named, used bool
		filters     engineapi.Filters
		gone        bool
	}{
		"dangling":        {gone: true},
		"named":           {named: true},
		"named, all":      {named: true, filters: all, gone: true},
		"used":            {used: true},
		"used, all":       {named: true, used: true, filters: all},
		"other label":     {filters: engineapi.Filters{"label": {"never": true}}},
		"without a label": {filters: engineapi.Filters{"label!": {"never": true}}, gone: true},
		"too young":       {filters: engineapi.Filters{"until": {"1970-01-01": true}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.images.img.Created = time.Now()
			if c.used {
				r.create("web", container.HostConfig{})
			}
			if !c.named {
				r.images.img.Names = nil
			}
			report, err := r.PruneImages(t.Context(), c.filters)
			if err != nil || len(report.ImagesDeleted) > 0 != c.gone || r.images.removed.Load() != c.gone {
				t.Errorf("%+v, %v", report, err)
			}
		})
	}
	r := newRig(t)
	for _, filters := range []engineapi.Filters{{"dangling": {"perhaps": true}}, {"name": {"x": true}}} {
		if _, err := r.PruneImages(t.Context(), filters); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: %v", filters, err)
		}
	}
}
