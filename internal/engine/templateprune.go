package engine

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"

	"bothy/internal/engineapi"
	"bothy/internal/vm/template"
)

// templateRecord is the type of a virtual machines' template among the records
// of the build cache, where docker's clients list and remove what is made again
// when it is needed.
const templateRecord = "vm.template"

// cacheRecords are the records of the build cache, those used last first.
func (s *System) cacheRecords() ([]build.CacheRecord, error) {
	records := []build.CacheRecord{}
	t := s.containers.starter.machines.templates
	if t == nil {
		return records, nil
	}
	all, err := t.store.List()
	if err != nil {
		return nil, err
	}
	users := s.templateUsers()
	for _, info := range all {
		records = append(records, cacheRecord(info, users[info.Digest.String()]))
	}
	return records, nil
}

// templateUsers counts the running machines of each template.
func (s *System) templateUsers() map[string]int {
	users := map[string]int{}
	for _, v := range s.containers.views() {
		if m := v.st.Machine; m != nil && running(v.st.State) && m.Start != machineBooted {
			users[m.Template]++
		}
	}
	return users
}

func cacheRecord(info template.Info, users int) build.CacheRecord {
	return build.CacheRecord{
		ID: info.Digest.Encoded(), Type: templateRecord,
		Description: fmt.Sprintf("virtual machine of %s, %s", units.BytesSize(float64(info.Shape.Memory)), cpuCount(info.Shape.CPUs)),
		InUse:       users > 0, Size: info.Size, CreatedAt: info.Created, LastUsedAt: &info.Used, UsageCount: users,
	}
}

func cpuCount(n int) string {
	if n == 1 {
		return "1 CPU"
	}
	return strconv.Itoa(n) + " CPUs"
}

// PruneBuildCache removes records of the build cache: those that no running
// machine went on from, or all. One that is removed is made again when the next
// machine of its size has started.
func (s *System) PruneBuildCache(ctx context.Context, req engineapi.BuildCachePrune) (*build.CachePruneReport, error) {
	selected, err := cacheFilter(req.Filters, time.Now())
	if err != nil {
		return nil, err
	}
	records, err := s.cacheRecords()
	if err != nil {
		return nil, err
	}
	report := &build.CachePruneReport{CachesDeleted: []string{}}
	var kept int64
	for _, r := range records {
		if err := ctx.Err(); err != nil {
			return report, err
		}
		if r.InUse && !req.All || !selected(r) || kept+r.Size <= req.Keep {
			kept += r.Size
			continue
		}
		freed, err := s.containers.starter.machines.templates.store.Drop(digest.NewDigestFromEncoded(digest.SHA256, r.ID))
		if errdefs.IsNotFound(err) { // it went meanwhile
			continue
		}
		if err != nil {
			return report, err
		}
		report.CachesDeleted = append(report.CachesDeleted, r.ID)
		report.SpaceReclaimed += uint64(freed)
	}
	s.bus.Publish(events.BuilderEventType, events.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)})
	return report, nil
}

// cacheFilter says which records filters select: of "until" those that were not
// used since, of the others those with one of the values.
func cacheFilter(filters engineapi.Filters, now time.Time) (func(build.CacheRecord) bool, error) {
	var since time.Time // those used later are kept
	for key, values := range filters {
		switch key {
		case "id", "type", "description", "inuse":
		case "until", "unused-for":
			for value := range values {
				at, err := parseMoment(value, now)
				if err != nil {
					return nil, err
				}
				if since.IsZero() || at.Before(since) {
					since = at
				}
			}
		default:
			return nil, failure(errdefs.ErrInvalidArgument, "invalid filter '%s': templates are selected by until, id, type, description and inuse", key)
		}
	}
	of := func(key, value string) bool { return len(filters[key]) == 0 || filters[key][value] }
	return func(r build.CacheRecord) bool {
		return of("id", r.ID) && of("type", r.Type) && of("description", r.Description) && of("inuse", strconv.FormatBool(r.InUse)) &&
			(since.IsZero() || r.LastUsedAt.Before(since))
	}, nil
}
