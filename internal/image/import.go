package image

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ImportOptions say what image an imported root file system becomes.
type ImportOptions struct {
	// Ref is the name[:tag] that the image gets; "" for none.
	Ref string
	// Message is the comment in the image's history; "" for docker's.
	Message string
	// Changes are Dockerfile lines: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK,
	// LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME, WORKDIR.
	Changes  []string
	Platform *ocispec.Platform // nil: this machine's
	Progress func(Progress)
}

// Import makes an image of one layer from the tar of a root file system,
// compressed (gzip, zstd, xz, bzip2) or not. Broken data and wrong changes give
// errdefs.ErrInvalidArgument.
func (s *Store) Import(ctx context.Context, r io.Reader, opts ImportOptions) (img *Image, err error) {
	cfg := dockerspec.DockerOCIImageConfig{}
	for _, line := range opts.Changes {
		if err := applyChange(&cfg, line); err != nil {
			return nil, err
		}
	}
	var names []string
	if opts.Ref != "" {
		tag, err := parseTag(opts.Ref)
		if err != nil {
			return nil, err
		}
		names = []string{tag.String()}
	}
	ctx, o, err := s.begin(ctx)
	if err != nil {
		return nil, s.explain("importing an image", err)
	}
	defer func() {
		err = s.explain("importing an image", errors.Join(err, o.end(ctx, err != nil)))
	}()
	layer, err := o.importLayer(ctx, r, &reporter{to: opts.Progress})
	if err != nil {
		return nil, err
	}
	p, err := importConfig(cfg, layer.Digest, opts)
	if err != nil {
		return nil, err
	}
	p.names, p.layers = names, []ocispec.Descriptor{layer}
	if err := o.finish(ctx, p, &reporter{to: opts.Progress}); err != nil {
		return nil, err
	}
	if err := o.record(ctx, p); err != nil {
		return nil, err
	}
	return o.result(ctx, p)
}

// importLayer streams the tar into the content store, uncompressed, so that
// its digest is the layer's diff ID.
func (o *operation) importLayer(ctx context.Context, r io.Reader, rep *reporter) (ocispec.Descriptor, error) {
	in, _, err := unpacked(&counter{Reader: r, r: rep, id: "rootfs", status: "Importing"})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d, n, err := o.ingest(ctx, "import", in, 0)
	if err := errors.Join(err, in.Close()); err != nil {
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: n}, nil
}

// importConfig makes the config of an imported image.
func importConfig(cfg dockerspec.DockerOCIImageConfig, diffID digest.Digest, opts ImportOptions) (*pending, error) {
	platform := platforms.DefaultSpec()
	if opts.Platform != nil {
		platform = platforms.Normalize(*opts.Platform)
	}
	message := opts.Message
	if message == "" {
		message = "Imported from -"
	}
	now := time.Now().UTC()
	img := dockerspec.DockerOCIImage{
		Image: ocispec.Image{
			Created: &now, Platform: ocispec.Platform{Architecture: platform.Architecture, OS: platform.OS, Variant: platform.Variant},
			RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
			History: []ocispec.History{{Created: &now, Comment: message}},
		},
		Config: cfg,
	}
	raw, err := json.Marshal(img)
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(raw)
	if err != nil {
		return nil, err
	}
	return &pending{config: c, configOf: ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(raw), Size: int64(len(raw)),
	}}, nil
}
