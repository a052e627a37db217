package executor

import (
	"encoding/json"

	"github.com/containerd/errdefs"
	"github.com/cyphar/filepath-securejoin/pathrs-lite"
)

// VolumesAnnotation in a runtime spec lists directories of the container, a
// JSON list of absolute paths, that are there when it starts: the image's
// volumes.
const VolumesAnnotation = "bothy.volumes"

// makeVolumes makes those of the directories that the root does not have.
func makeVolumes(root, list string) error {
	if list == "" {
		return nil
	}
	var paths []string
	if err := json.Unmarshal([]byte(list), &paths); err != nil {
		return errorf(errdefs.ErrInvalidArgument, "reading the annotation %s: %v", VolumesAnnotation, err)
	}
	for _, path := range paths {
		if err := pathrs.MkdirAll(root, path, 0o755); err != nil {
			return wrap(err, "making the volume %s", path)
		}
	}
	return nil
}
