package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"

	"bothy/internal/engineapi"
	"bothy/internal/image"
)

func TestDiskUsageOfImages(t *testing.T) {
	t.Parallel()
	layer := func(name string, size int64) image.Layer { return image.Layer{File: name, Size: size} }
	one := image.Image{ID: digest.FromString("one"), Size: 30, Layers: []image.Layer{layer("base", 10), layer("own", 20)}}
	two := image.Image{ID: digest.FromString("two"), Size: 10, Layers: []image.Layer{layer("base", 10)}}
	users := []view{{rec: record{ImageID: one.ID.String()}}, {rec: record{ImageID: one.ID.String()}}}
	layers, list := measureImages([]image.Image{one, two}, users)
	if layers != 30 || len(list) != 2 {
		t.Fatalf("%d bytes, %+v", layers, list)
	}
	if a, b := list[0], list[1]; a.Containers != 2 || a.SharedSize != 10 || b.Containers != 0 || b.SharedSize != 10 {
		t.Errorf("%+v", list)
	}
}

func TestDiskUsageIsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	all, err := r.DiskUsage(t.Context(), engineapi.DiskUsageRequest{Images: true, Containers: true, BuildCache: true})
	if err != nil || len(all.Images) != 1 || len(all.Containers) != 1 || all.BuildCache == nil || len(all.BuildCache) != 0 {
		t.Errorf("all: %+v, %v", all, err)
	}
	none, err := r.DiskUsage(t.Context(), engineapi.DiskUsageRequest{})
	if err != nil || none.Images != nil || none.Containers != nil || none.BuildCache != nil {
		t.Errorf("nothing: %+v, %v", none, err)
	}
	report, err := r.PruneBuildCache(t.Context(), engineapi.BuildCachePrune{All: true})
	if err != nil || len(report.CachesDeleted) > 0 {
		t.Errorf("pruning nothing: %+v, %v", report, err)
	}
}

// withTemplates gives the engine templates, of which a running machine uses the
// first. It returns their names.
func (r *rig) withTemplates(n int) []string {
	r.t.Helper()
	templates := newTemplateRig(r.t)
	var ids []string
	for i := range n {
		templates.want(job(i + 1))
		templates.jobs.Wait()
		ids = append(ids, job(i+1).shape.Digest().Encoded())
	}
	r.starter.machines.templates = templates.templates
	r.create("guest", container.HostConfig{})
	r.start("guest")
	c, err := r.index.find("guest")
	if err != nil {
		r.t.Fatal(err)
	}
	c.note(func(st *status) {
		st.Machine = &machineStatus{Start: machineRestored, Template: job(1).shape.Digest().String()}
	})
	return ids
}

func TestTemplatesAreListedAndPruned(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ids := r.withTemplates(3)
	usage, err := r.DiskUsage(t.Context(), engineapi.DiskUsageRequest{BuildCache: true})
	if err != nil || len(usage.BuildCache) != 3 {
		t.Fatalf("%+v, %v", usage, err)
	}
	i := slices.IndexFunc(usage.BuildCache, func(r build.CacheRecord) bool { return r.InUse })
	if i < 0 || usage.BuildCache[i].ID != ids[0] || usage.BuildCache[i].Type != "vm.template" || usage.BuildCache[i].Size == 0 ||
		usage.BuildCache[i].Description != "virtual machine of 1MiB, 1 CPU" {
		t.Errorf("%+v", usage.BuildCache)
	}
	prune := func(req engineapi.BuildCachePrune, want ...string) {
		t.Helper()
		report, err := r.PruneBuildCache(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(report.CachesDeleted)
		slices.Sort(want)
		if !slices.Equal(report.CachesDeleted, want) || (report.SpaceReclaimed > 0) != (len(want) > 0) {
			t.Errorf("%+v: pruned %+v, want %v", req, report, want)
		}
	}
	filter := func(key, value string) engineapi.Filters { return engineapi.Filters{key: {value: true}} }
	prune(engineapi.BuildCachePrune{Filters: filter("until", "1h")})
	prune(engineapi.BuildCachePrune{Filters: filter("type", "regular")})
	prune(engineapi.BuildCachePrune{Keep: 1 << 40})
	prune(engineapi.BuildCachePrune{Filters: filter("id", ids[1])}, ids[1])
	prune(engineapi.BuildCachePrune{}, ids[2])
	prune(engineapi.BuildCachePrune{All: true}, ids[0])
	if _, err := r.PruneBuildCache(t.Context(), engineapi.BuildCachePrune{Filters: filter("label", "x")}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("an unknown filter: %v", err)
	}
}

func TestCacheFilterOfTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	old, young := now.Add(-2*time.Hour), now.Add(-time.Minute)
	selected, err := cacheFilter(engineapi.Filters{"until": {"1h": true}}, now)
	if err != nil || !selected(build.CacheRecord{LastUsedAt: &old}) || selected(build.CacheRecord{LastUsedAt: &young}) {
		t.Errorf("the wrong ones are selected, %v", err)
	}
	if _, err := cacheFilter(engineapi.Filters{"until": {"yesterday": true}}, now); err == nil {
		t.Error("nonsense is a time")
	}
}
