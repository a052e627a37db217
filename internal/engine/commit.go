package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"

	"bothy/internal/engineapi"
	"bothy/internal/image"
	files "bothy/internal/rootfs"
	"bothy/internal/spec"
)

// CommitContainer makes an image of what a container has changed, over the image
// that it was made from, and returns its ID ("sha256:...").
func (s *Containers) CommitContainer(ctx context.Context, req engineapi.CommitRequest) (string, error) {
	c, err := s.index.find(req.Container)
	if err != nil {
		return "", err
	}
	rec, st := c.snapshot()
	switch st.State {
	case container.StateDead:
		return "", failure(errdefs.ErrConflict, "You cannot commit container %s which is Dead", c.id)
	case container.StateRemoving:
		return "", failure(errdefs.ErrConflict, "You cannot commit container %s which is being removed", c.id)
	}
	opts, err := commitOptions(rec, req)
	if err != nil {
		return "", err
	}
	if req.Pause && st.State == container.StateRunning {
		if s.PauseContainer(ctx, c.id) == nil { // one that has ended meanwhile needs none
			defer func() {
				if err := s.UnpauseContainer(context.WithoutCancel(ctx), c.id); err != nil && !errdefs.IsConflict(err) {
					s.log.Error("letting a committed container go on", "container", rec.Name, "error", err)
				}
			}()
		}
	}
	layer, _, err := s.read(ctx, c, files.Request{Op: files.OpLayer, Ignore: madeForMounts})
	if err != nil {
		return "", err
	}
	defer layer.Close()
	img, err := s.images.Commit(ctx, layer, opts)
	if err != nil {
		return "", err
	}
	id := img.ID.String()
	s.bus.Publish(events.ImageEventType, events.ActionCreate, id, map[string]string{"name": id})
	if req.Ref != "" {
		s.bus.Publish(events.ImageEventType, events.ActionTag, id, map[string]string{"name": req.Ref})
	}
	s.emit(events.ActionCommit, rec, "comment", req.Comment, "imageID", id, "imageRef", req.Ref)
	return id, nil
}

// commitOptions work out the image's settings: those that the request has, with
// its changes, completed by the container's.
func commitOptions(rec record, req engineapi.CommitRequest) (image.CommitOptions, error) {
	opts := image.CommitOptions{
		Base: digest.Digest(rec.ImageID), Ref: req.Ref, Author: req.Author, Comment: req.Comment, CreatedBy: strings.Join(rec.Config.Cmd, " "),
	}
	own, err := imageConfig(rec.Config)
	if err != nil {
		return opts, err
	}
	opts.Config = *own
	if req.Config != nil {
		asked, err := imageConfig(req.Config)
		if err != nil {
			return opts, err
		}
		opts.Config = *asked
	}
	if err := image.ApplyChanges(&opts.Config, req.Changes); err != nil {
		return opts, err
	}
	if req.Config == nil {
		return opts, nil
	}
	var asked container.Config
	if err := recode(opts.Config, &asked); err != nil {
		return opts, err
	}
	merged, err := spec.Merge(&asked, own)
	if err != nil {
		return opts, err
	}
	done, err := imageConfig(merged)
	if err == nil {
		opts.Config = *done
	}
	return opts, err
}

// imageConfig takes those of a container's settings that an image can have.
func imageConfig(cfg *container.Config) (*dockerspec.DockerOCIImageConfig, error) {
	out := &dockerspec.DockerOCIImageConfig{}
	return out, recode(cfg, out)
}

// recode turns settings into another type of which the fields have the same
// names.
func recode(from, to any) error {
	data, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(data, to)
	}
	if err != nil {
		return fmt.Errorf("turning a container's settings into an image's: %w", err)
	}
	return nil
}
