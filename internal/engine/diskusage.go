package engine

import (
	"context"

	dockerimage "github.com/moby/moby/api/types/image"

	"bothy/internal/engineapi"
	"bothy/internal/image"
)

// DiskUsage measures what takes how much disk.
func (s *System) DiskUsage(ctx context.Context, req engineapi.DiskUsageRequest) (*engineapi.DiskUsage, error) {
	usage := &engineapi.DiskUsage{}
	if req.Images {
		all, err := s.images.List(ctx)
		if err != nil {
			return nil, err
		}
		usage.LayersSize, usage.Images = measureImages(all, s.containers.views())
	}
	if req.Containers {
		list, err := s.containers.ListContainers(ctx, true, 0, true, nil)
		if err != nil {
			return nil, err
		}
		usage.Containers = list
	}
	if req.BuildCache {
		cache, err := s.cacheRecords()
		if err != nil {
			return nil, err
		}
		usage.BuildCache = cache
	}
	return usage, nil
}

// measureImages tells of each image how many containers use it and how much of
// it others have, too, and gives the size in bytes of all layers together.
func measureImages(all []image.Image, containers []view) (layers int64, list []dockerimage.Summary) {
	owners := map[string]int{}
	for _, img := range all {
		for _, l := range img.Layers {
			if owners[l.File]++; owners[l.File] == 1 {
				layers += l.Size
			}
		}
	}
	users := map[string]int64{}
	for _, v := range containers {
		users[v.rec.ImageID]++
	}
	list = []dockerimage.Summary{}
	for i := range all {
		sum := imageSummary(&all[i])
		sum.Containers, sum.SharedSize = users[sum.ID], 0
		for _, l := range all[i].Layers {
			if owners[l.File] > 1 {
				sum.SharedSize += l.Size
			}
		}
		list = append(list, sum)
	}
	return layers, list
}
