package image

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// emptyTar is the digest of an archive without entries: a layer of nothing, which
// no image needs.
const emptyTar digest.Digest = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

// CommitOptions say what image a container's changes become.
type CommitOptions struct {
	// Base is the ID of the image that the container was made from.
	Base digest.Digest
	// Config is the new image's, whole.
	Config dockerspec.DockerOCIImageConfig
	// Ref is the name[:tag] that the image gets; "" for none.
	Ref string
	// Author, Comment and CreatedBy are for the image's history.
	Author, Comment, CreatedBy string
}

// Commit makes an image of another and the tar of one more layer, uncompressed.
// The layer goes through the same checks as any that is loaded: what is broken
// gives errdefs.ErrInvalidArgument. A base that is gone is errdefs.ErrNotFound.
func (s *Store) Commit(ctx context.Context, layer io.Reader, opts CommitOptions) (img *Image, err error) {
	var names []string
	if opts.Ref != "" {
		tag, err := parseTag(opts.Ref)
		if err != nil {
			return nil, err
		}
		names = []string{tag.String()}
	}
	release := s.Hold(opts.Base)
	defer release()
	ctx, o, err := s.begin(ctx)
	if err != nil {
		return nil, s.explain("committing a container", err)
	}
	defer func() {
		err = s.explain("committing a container", errors.Join(err, o.end(ctx, err != nil)))
	}()
	base, lower, err := s.base(ctx, opts.Base)
	if err != nil {
		return nil, err
	}
	d, n, err := o.ingest(ctx, "commit", layer, 0)
	if err != nil {
		return nil, err
	}
	top := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: n}
	p, err := derive(base, lower, top, opts)
	if err != nil {
		return nil, err
	}
	p.names = names
	if err := o.finish(ctx, p, &reporter{}); err != nil {
		return nil, err
	}
	if err := o.record(ctx, p); err != nil {
		return nil, err
	}
	return o.result(ctx, p)
}

// base reads an image's config and the descriptors of its layers.
func (s *Store) base(ctx context.Context, id digest.Digest) (*config, []ocispec.Descriptor, error) {
	img, err := s.Resolve(ctx, id.String())
	if errdefs.IsNotFound(err) {
		return nil, nil, errorf(errdefs.ErrNotFound, "the image %s, which the container was made from, was removed: pull or load it again", id)
	}
	if err != nil {
		return nil, nil, err
	}
	raw, err := s.readBlob(ctx, img.Target.Digest)
	if err != nil {
		return nil, nil, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil, nil, err
	}
	c, err := s.config(ctx, id)
	return c, m.Layers, err
}

// derive makes the image: its documents but for the manifest.
func derive(base *config, lower []ocispec.Descriptor, top ocispec.Descriptor, opts CommitOptions) (*pending, error) {
	var img dockerspec.DockerOCIImage
	if err := json.Unmarshal(base.raw, &img); err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	img.Created, img.Author, img.Config = &now, opts.Author, opts.Config
	layers := slices.Clone(lower)
	empty := top.Digest == emptyTar
	if !empty {
		img.RootFS.Type = "layers"
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, top.Digest)
		layers = append(layers, top)
	}
	img.History = append(img.History, ocispec.History{
		Created: &now, CreatedBy: opts.CreatedBy, Author: opts.Author, Comment: opts.Comment, EmptyLayer: empty,
	})
	raw, err := json.Marshal(img)
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(raw)
	if err != nil {
		return nil, err
	}
	return &pending{config: c, layers: layers, configOf: ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(raw), Size: int64(len(raw)),
	}}, nil
}

// ApplyChanges applies Dockerfile lines to an image's config, as docker's commit
// does: an ENTRYPOINT takes away the command that was there before, unless a CMD
// stands above it. Wrong lines give errdefs.ErrInvalidArgument.
func ApplyChanges(c *dockerspec.DockerOCIImageConfig, lines []string) error {
	hasCommand := false
	for _, line := range lines {
		if err := applyChange(c, line); err != nil {
			return err
		}
		switch word, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.ToUpper(word) {
		case "CMD":
			hasCommand = true
		case "ENTRYPOINT":
			if !hasCommand {
				c.Cmd = nil
			}
		}
	}
	return nil
}

// Uncompressed gives the bytes of an archive that may be compressed (gzip, zstd,
// xz, bzip2). Broken data gives errdefs.ErrInvalidArgument while it is read.
func Uncompressed(r io.Reader) (io.ReadCloser, error) {
	out, _, err := unpacked(r)
	return out, err
}
