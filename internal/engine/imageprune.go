package engine

import (
	"context"
	"maps"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	dockerimage "github.com/moby/moby/api/types/image"

	"bothy/internal/engineapi"
)

// PruneImages removes the images that no container uses: those without a name,
// or with the filter dangling=false all. The filters "label", "label!" and
// "until" select among them.
func (s *Images) PruneImages(ctx context.Context, filters engineapi.Filters) (*dockerimage.PruneReport, error) {
	all := false
	for value := range filters["dangling"] {
		dangling, err := strconv.ParseBool(value)
		if err != nil {
			return nil, failure(errdefs.ErrInvalidArgument, "invalid filter 'dangling=%s'", value)
		}
		all = all || !dangling
	}
	filters = maps.Clone(filters)
	delete(filters, "dangling")
	for key := range filters {
		if key != "label" && key != "label!" && key != "until" {
			return nil, failure(errdefs.ErrInvalidArgument, "invalid filter '%s'", key)
		}
	}
	match, err := s.imageFilter(ctx, filters)
	if err != nil {
		return nil, err
	}
	images, err := s.store.List(ctx)
	if err != nil {
		return nil, err
	}
	before, _ := measureImages(images, nil)
	report := &dockerimage.PruneReport{ImagesDeleted: []dockerimage.DeleteResponse{}}
	for i := range images {
		img := &images[i]
		if err := ctx.Err(); err != nil {
			return report, err
		}
		if len(img.Names) > 0 && !all || !match(img) || len(s.containers.usersOf(img.ID)) > 0 {
			continue
		}
		removed, err := s.RemoveImage(ctx, img.ID.String(), len(img.Names) > 1, false)
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) { // it went, or is used, meanwhile
			return report, err
		}
		report.ImagesDeleted = append(report.ImagesDeleted, removed...)
	}
	if images, err = s.store.List(ctx); err != nil {
		return report, err
	}
	after, _ := measureImages(images, nil)
	report.SpaceReclaimed = uint64(max(before-after, 0))
	s.bus.Publish(events.ImageEventType, events.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)})
	return report, nil
}
