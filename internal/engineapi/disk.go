package engineapi

import (
	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
)

// DiskUsageRequest says what is to be measured.
type DiskUsageRequest struct {
	Images, Containers, BuildCache bool
}

// DiskUsage is what takes how much disk. What was not asked for is nil.
type DiskUsage struct {
	LayersSize int64 // bytes of all images' layers
	Images     []image.Summary
	Containers []container.Summary
	// BuildCache has the virtual machines' templates, which like a build's cache
	// are made again when they are needed.
	BuildCache []build.CacheRecord
}

// BuildCachePrune selects records of the build cache to be removed.
type BuildCachePrune struct {
	All     bool  // those in use, too
	Keep    int64 // bytes that may stay: of what was used last
	Filters Filters
}
