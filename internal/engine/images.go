package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/events"
	dockerimage "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/storage"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"bothy/internal/engineapi"
	"bothy/internal/event"
	"bothy/internal/image"
)

// Images answers for images in docker's words.
type Images struct {
	store      imageStore
	containers *Containers
	bus        *event.Bus
}

// withTag gives a name the tag "latest" if it has none, in the short form; what
// is no name stays as it is.
func withTag(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(reference.TagNameOnly(named))
}

// emit publishes an image's event: actor is what the user named it by.
func (s *Images) emit(action events.Action, actor string, attributes map[string]string) {
	if attributes == nil {
		attributes = map[string]string{}
	}
	if attributes["name"] == "" {
		attributes["name"] = actor
	}
	s.bus.Publish(events.ImageEventType, action, actor, attributes)
}

// message turns progress into docker's: what has an ID has a progress, be it
// empty.
func message(p image.Progress) jsonstream.Message {
	m := jsonstream.Message{ID: p.ID, Status: p.Status}
	if p.ID != "" {
		m.Progress = &jsonstream.Progress{Current: p.Current, Total: p.Total}
	}
	return m
}

// relayProgress gives the callback that sends progress to out.
func relayProgress(out engineapi.Progress) func(image.Progress) {
	return func(p image.Progress) { out(message(p)) }
}

func authOf(a *registry.AuthConfig) *image.Auth {
	if a == nil {
		return nil
	}
	return &image.Auth{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
}

// Login checks what a client would show a registry.
func (s *Images) Login(ctx context.Context, server string, auth *registry.AuthConfig) error {
	return s.store.Login(ctx, server, authOf(auth))
}

// PullImage gets an image from its registry.
func (s *Images) PullImage(ctx context.Context, ref string, platform *ocispec.Platform, auth *registry.AuthConfig, out engineapi.Progress) error {
	opts := image.PullOptions{Platform: platform, Progress: relayProgress(out), Auth: authOf(auth)}
	_, err := s.store.Pull(ctx, ref, opts)
	if err != nil {
		return err
	}
	name := withTag(ref)
	attributes := map[string]string{"name": name}
	if named, err := reference.ParseNormalizedNamed(ref); err == nil {
		attributes["name"] = reference.FamiliarName(named)
	}
	s.emit(events.ActionPull, name, attributes)
	return nil
}

// ImportImage makes a one-layer image of a root file system's tar and returns
// its ID.
func (s *Images) ImportImage(ctx context.Context, rootfs io.Reader, ref, comment string, changes []string, platform *ocispec.Platform, out engineapi.Progress) (string, error) {
	img, err := s.store.Import(ctx, rootfs, image.ImportOptions{
		Ref: ref, Message: comment, Changes: changes, Platform: platform, Progress: relayProgress(out),
	})
	if err != nil {
		return "", err
	}
	id := img.ID.String()
	out(jsonstream.Message{Status: id})
	s.emit(events.ActionImport, id, map[string]string{"name": ref})
	return id, nil
}

// LoadImages reads a docker or OCI archive.
func (s *Images) LoadImages(ctx context.Context, archive io.Reader, platform *ocispec.Platform, out engineapi.Progress) error {
	loaded, err := s.store.Load(ctx, archive, image.LoadOptions{Platform: platform, Progress: relayProgress(out)})
	if err != nil {
		return err
	}
	for _, l := range loaded {
		text := "Loaded image: " + l.Name
		if l.Name == "" {
			text = "Loaded image ID: " + l.ID.String()
		}
		out(jsonstream.Message{Stream: text + "\n"})
		s.emit(events.ActionLoad, l.ID.String(), map[string]string{"name": l.Name})
	}
	return nil
}

// TagImage gives an image a further name.
func (s *Images) TagImage(ctx context.Context, ref, repo, tag string) error {
	target := repo
	if tag != "" {
		target += ":" + tag
	}
	img, err := s.store.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	if err := s.store.Tag(ctx, img.ID.String(), target); err != nil {
		return err
	}
	s.emit(events.ActionTag, img.ID.String(), map[string]string{"name": withTag(target)})
	return nil
}

// RemoveImage removes a name, or an image with all its names. An image without
// a name has no parents that could be pruned, so noPrune changes nothing.
func (s *Images) RemoveImage(ctx context.Context, ref string, force, _ bool) ([]dockerimage.DeleteResponse, error) {
	img, err := s.store.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	removed, err := s.store.Remove(ctx, ref, image.RemoveOptions{Force: force, InUse: s.containers.usersOf, Running: s.containers.runningUsersOf})
	if err != nil {
		return nil, err
	}
	out := []dockerimage.DeleteResponse{}
	for _, r := range removed {
		out = append(out, dockerimage.DeleteResponse{Untagged: r.Untagged, Deleted: r.Deleted})
		if r.Untagged != "" {
			s.emit(events.ActionUnTag, img.ID.String(), nil)
		}
		if r.Deleted != "" {
			s.emit(events.ActionDelete, r.Deleted, nil)
		}
	}
	return out, nil
}

// InspectImage gives all that is known of an image.
func (s *Images) InspectImage(ctx context.Context, ref string) (*dockerimage.InspectResponse, error) {
	img, err := s.store.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	var cfg dockerspec.DockerOCIImage
	if err := json.Unmarshal(img.RawConfig, &cfg); err != nil {
		return nil, fmt.Errorf("reading the configuration of image %s: %w", img.ID, err)
	}
	resp := &dockerimage.InspectResponse{
		ID:           img.ID.String(),
		RepoTags:     orEmpty(img.Names),
		RepoDigests:  orEmpty(img.Digests),
		Author:       cfg.Author,
		Config:       &cfg.Config,
		Architecture: cfg.Architecture,
		Variant:      cfg.Variant,
		Os:           cfg.OS,
		OsVersion:    cfg.OSVersion,
		Size:         img.Size,
		GraphDriver:  &storage.DriverData{Name: storageDriver, Data: map[string]string{}},
		RootFS:       dockerimage.RootFS{Type: "layers"},
	}
	if !img.Created.IsZero() {
		resp.Created = img.Created.Format(time.RFC3339Nano)
	}
	if n := len(cfg.History); n > 0 {
		resp.Comment = cfg.History[n-1].Comment
	}
	files := make([]string, len(img.Layers))
	for i, l := range img.Layers {
		resp.RootFS.Layers = append(resp.RootFS.Layers, l.DiffID.String())
		files[i] = l.File
	}
	resp.GraphDriver.Data["LowerDir"] = joinReversed(files)
	return resp, nil
}

// orEmpty gives an empty list for none, which JSON shows as [].
func orEmpty(list []string) []string { return append([]string{}, list...) }

// ListImages lists the images, the newest first. There are no intermediate
// images, so all changes nothing.
func (s *Images) ListImages(ctx context.Context, _ bool, filters engineapi.Filters) ([]dockerimage.Summary, error) {
	all, err := s.store.List(ctx)
	if err != nil {
		return nil, err
	}
	match, err := s.imageFilter(ctx, filters)
	if err != nil {
		return nil, err
	}
	users := map[string][]string{}
	for _, v := range s.containers.views() {
		users[v.rec.ImageID] = append(users[v.rec.ImageID], v.rec.ID)
	}
	list := []dockerimage.Summary{}
	for i := range all {
		if match(&all[i]) {
			sum := imageSummary(&all[i])
			sum.Manifests = []dockerimage.ManifestSummary{manifestSummary(&all[i], users[sum.ID])}
			list = append(list, sum)
		}
	}
	return list, nil
}

func imageSummary(img *image.Image) dockerimage.Summary {
	sum := dockerimage.Summary{
		Containers:  -1,
		ID:          img.ID.String(),
		Labels:      img.Config.Config.Labels,
		RepoTags:    orEmpty(img.Names),
		RepoDigests: orEmpty(img.Digests),
		SharedSize:  -1,
		Size:        img.Size,
	}
	if !img.Created.IsZero() {
		sum.Created = img.Created.Unix()
	}
	return sum
}

// manifestSummary tells of the one platform of an image that is there, and of
// the containers that use it. Its layers are kept in one form, which counts as
// its content.
func manifestSummary(img *image.Image, users []string) dockerimage.ManifestSummary {
	m := dockerimage.ManifestSummary{
		ID: img.Target.Digest.String(), Descriptor: img.Target, Available: true, Kind: dockerimage.ManifestKindImage,
		ImageData: &dockerimage.ImageProperties{Platform: img.Config.Platform, Containers: orEmpty(users)},
	}
	m.Size.Content, m.Size.Total = img.Size, img.Size
	return m
}

// familiarRepo is a name without tag or digest.
func familiarRepo(name string) string {
	repo, _, _ := strings.Cut(name, "@")
	if i := strings.LastIndex(repo, ":"); i > strings.LastIndex(repo, "/") {
		repo = repo[:i]
	}
	return repo
}
