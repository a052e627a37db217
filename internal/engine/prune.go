package engine

import (
	"context"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"bothy/internal/engineapi"
)

// PruneContainers removes the containers that do not run and that the filters
// "label", "label!" and "until" select, and says which, and how many bytes they
// had written. One that is started or removed meanwhile is left out.
func (s *Containers) PruneContainers(ctx context.Context, filters engineapi.Filters) (*container.PruneReport, error) {
	selected, err := pruneFilter(filters, time.Now())
	if err != nil {
		return nil, err
	}
	if !s.pruning.TryLock() {
		return nil, failure(errdefs.ErrConflict, "a prune operation is already running")
	}
	defer s.pruning.Unlock()
	report := &container.PruneReport{ContainersDeleted: []string{}}
	for _, v := range s.views() {
		if ctx.Err() != nil {
			return report, ctx.Err()
		}
		if _, err := next(v.rec.Name, v.st.State, opRemove); err != nil || !selected(v) {
			continue
		}
		written := writtenSize(v.dir, v.rec.Home)
		if err := s.RemoveContainer(ctx, v.rec.ID, false, false); err != nil {
			if !errdefs.IsConflict(err) && !errdefs.IsNotFound(err) {
				s.log.Error("pruning a container", "container", v.rec.Name, "error", err)
			}
			continue
		}
		report.ContainersDeleted = append(report.ContainersDeleted, v.rec.ID)
		report.SpaceReclaimed += uint64(written)
	}
	s.bus.Publish(events.ContainerEventType, events.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)})
	return report, nil
}

// pruneFilter says which containers filters select. All labels of "label" must
// be there, none of those of "label!", and of "until" the earliest counts.
func pruneFilter(filters engineapi.Filters, now time.Time) (func(view) bool, error) {
	var until time.Time
	for key, values := range filters {
		switch key {
		case "label", "label!":
		case "until":
			for value := range values {
				at, err := parseMoment(value, now)
				if err != nil {
					return nil, err
				}
				if until.IsZero() || at.Before(until) {
					until = at
				}
			}
		default:
			return nil, failure(errdefs.ErrInvalidArgument, "invalid filter '%s'", key)
		}
	}
	return func(v view) bool {
		for label := range filters["label"] {
			if !matchLabel(v.rec.Config.Labels, label) {
				return false
			}
		}
		for label := range filters["label!"] {
			if matchLabel(v.rec.Config.Labels, label) {
				return false
			}
		}
		return until.IsZero() || v.rec.Created.Before(until)
	}, nil
}
