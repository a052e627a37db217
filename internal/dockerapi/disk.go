package dockerapi

import (
	"net/http"

	"bothy/internal/engineapi"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"
)

// diskUsage is GET /system/df as versions before 1.52 have it. What was not
// asked for is null.
type diskUsage struct {
	LayersSize  int64
	Images      []imageSummary
	Containers  []containerSummary
	Volumes     []volume.Volume
	BuildCache  []build.CacheRecord
	BuilderSize *int64 `json:",omitempty"` // before 1.42
}

func (s *Server) systemDF(w http.ResponseWriter, r *request) error {
	backend, ok := s.backend.(Disk)
	if !ok {
		return notServed("bothy does not tell what takes how much disk space (system df) yet")
	}
	want := map[system.DiskUsageObject]bool{}
	for _, object := range r.query["type"] { // since 1.42
		switch o := system.DiskUsageObject(object); o {
		case system.ContainerObject, system.ImageObject, system.VolumeObject, system.BuildCacheObject:
			want[o] = true
		default:
			return invalid("unknown object type: %s", object)
		}
	}
	wants := func(o system.DiskUsageObject) bool { return len(want) == 0 || want[o] }
	usage, err := backend.DiskUsage(r.Context(), engineapi.DiskUsageRequest{
		Images: wants(system.ImageObject), Containers: wants(system.ContainerObject), BuildCache: wants(system.BuildCacheObject),
	})
	if err != nil {
		return err
	}
	answer := diskUsage{LayersSize: usage.LayersSize, BuildCache: usage.BuildCache}
	if usage.Images != nil {
		answer.Images = legacyImages(usage.Images, r.version)
	}
	if usage.Containers != nil {
		answer.Containers = legacySummaries(usage.Containers, r.version)
	}
	if wants(system.VolumeObject) {
		answer.Volumes = []volume.Volume{} // there are none
	}
	if r.version.before("1.42") {
		var size int64
		for _, record := range usage.BuildCache {
			size += record.Size
		}
		answer.BuilderSize = &size
	}
	return writeJSON(w, http.StatusOK, answer)
}

func (s *Server) pruneBuildCache(w http.ResponseWriter, r *request) error {
	backend, ok := s.backend.(Disk)
	if !ok {
		return notServed("bothy does not build images yet")
	}
	req := engineapi.BuildCachePrune{All: r.boolean("all")}
	for _, key := range []string{"max-used-space", "min-free-space"} {
		if v := r.query.Get(key); v != "" && v != "0" {
			return notServed("bothy does not prune by %s yet: use reserved-space", key)
		}
	}
	for _, key := range []string{"keep-storage", "reserved-space"} { // the name before 1.48, and since
		if v := r.query.Get(key); v != "" {
			n, err := units.RAMInBytes(v)
			if err != nil || n < 0 {
				return invalid("%s %q is no number of bytes", key, v)
			}
			req.Keep = n
		}
	}
	var err error
	if req.Filters, err = r.filters(); err != nil {
		return err
	}
	report, err := backend.PruneBuildCache(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, report)
}

func (s *Server) pruneImages(w http.ResponseWriter, r *request) error {
	backend, ok := s.backend.(Disk)
	if !ok {
		return notServed("bothy does not remove all unused images at once yet (image prune)")
	}
	filters, err := r.filters()
	if err != nil {
		return err
	}
	report, err := backend.PruneImages(r.Context(), filters)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, report)
}

// pruneNetworks has nothing to remove: there are no networks but bothy's own,
// which are never pruned.
func (s *Server) pruneNetworks(w http.ResponseWriter, r *request) error {
	if _, err := r.filters(); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, network.PruneReport{NetworksDeleted: []string{}})
}
