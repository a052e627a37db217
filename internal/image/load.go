package image

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// LoadOptions say what to take of an archive.
type LoadOptions struct {
	// Platform selects from an image that has several; nil: this machine's,
	// or the only one that there is.
	Platform *ocispec.Platform
	Progress func(Progress)
}

// Loaded is one name of a loaded image, or the image if it has none.
type Loaded struct {
	Name string // "busybox:latest"; "" without a name
	ID   digest.Digest
}

// Load reads an archive as `docker save` writes it, or an OCI image layout in a
// tar, compressed (gzip, zstd, xz, bzip2) or not. Either all of its images are
// taken or none. What is no such archive, or a broken one, gives
// errdefs.ErrInvalidArgument.
func (s *Store) Load(ctx context.Context, r io.Reader, opts LoadOptions) (loaded []Loaded, err error) {
	ctx, o, err := s.begin(ctx)
	if err != nil {
		return nil, s.explain("loading images", err)
	}
	defer func() {
		err = s.explain("loading images", errors.Join(err, o.end(ctx, err != nil)))
	}()
	rep := &reporter{to: opts.Progress}
	a, err := o.readArchive(ctx, r, rep)
	if err != nil {
		return nil, err
	}
	var found []*pending
	switch {
	case a.members["manifest.json"] != nil:
		found, err = a.docker(ctx)
	case a.members[ocispec.ImageIndexFile] != nil:
		found, err = a.oci(ctx, opts.Platform)
	default:
		err = errorf(errdefs.ErrInvalidArgument, "this is not an image archive: it has neither manifest.json nor index.json; `import` takes a root file system")
	}
	if err != nil {
		return nil, err
	}
	for _, p := range found {
		if err := o.finish(ctx, p, rep); err != nil {
			return nil, err
		}
	}
	if err := o.record(ctx, found...); err != nil {
		return nil, err
	}
	return names(found), nil
}

// finish unpacks an image whose blobs are all there and writes its documents.
func (o *operation) finish(ctx context.Context, p *pending, rep *reporter) error {
	if err := p.check(); err != nil {
		return err
	}
	err := o.unpack(ctx, p, unpackers, func(ctx context.Context, i int) error {
		rep.say(short(p.config.image.RootFS.DiffIDs[i]), "Loading layer", p.layers[i].Size, p.layers[i].Size)
		return o.unpackLayer(ctx, p, i)
	})
	if err != nil {
		return err
	}
	return o.seal(ctx, p)
}

func names(ps []*pending) []Loaded {
	var l []Loaded
	for _, p := range ps {
		if len(p.names) == 0 {
			l = append(l, Loaded{ID: p.configOf.Digest})
		}
		for _, n := range p.names {
			l = append(l, Loaded{Name: familiar(n), ID: p.configOf.Digest})
		}
	}
	return l
}

// docker reads manifest.json.
func (a *archive) docker(ctx context.Context) ([]*pending, error) {
	raw, _, err := a.document(ctx, "manifest.json")
	if err != nil {
		return nil, err
	}
	var list []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errorf(errdefs.ErrInvalidArgument, "the archive's manifest.json is not what it should be: %w", err)
	}
	var found []*pending
	for _, e := range list {
		p, err := a.image(ctx, e.Config, e.Layers)
		if err != nil {
			return nil, err
		}
		for _, t := range e.RepoTags {
			tag, err := parseTag(t)
			if err != nil {
				return nil, err
			}
			p.names = append(p.names, tag.String())
		}
		found = append(found, p)
	}
	if len(found) == 0 {
		return nil, errorf(errdefs.ErrInvalidArgument, "the archive has no image in it")
	}
	return found, nil
}

// image makes a pending image of members.
func (a *archive) image(ctx context.Context, configName string, layers []string) (*pending, error) {
	raw, m, err := a.document(ctx, configName)
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(raw)
	if err != nil {
		return nil, err
	}
	p := &pending{config: c, configOf: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: m.digest, Size: m.size}}
	for _, name := range layers {
		d, err := a.layer(ctx, name)
		if err != nil {
			return nil, err
		}
		p.layers = append(p.layers, d)
	}
	return p, p.check()
}

// oci reads an OCI image layout.
func (a *archive) oci(ctx context.Context, platform *ocispec.Platform) ([]*pending, error) {
	raw, _, err := a.document(ctx, ocispec.ImageIndexFile)
	if err != nil {
		return nil, err
	}
	index, err := parseIndex(raw)
	if err != nil {
		return nil, err
	}
	var found []*pending
	for _, d := range index.Manifests {
		if notAnImage(d) {
			continue
		}
		p, err := a.ociImage(ctx, d, platform, 0)
		if err != nil {
			return nil, err
		}
		if n := layoutName(d); n != "" {
			tag, err := parseTag(n)
			if err != nil {
				return nil, err
			}
			p.names = append(p.names, tag.String())
		}
		found = append(found, p)
	}
	if len(found) == 0 {
		return nil, errorf(errdefs.ErrInvalidArgument, "the archive has no image in it")
	}
	return found, nil
}

// maxIndexDepth bounds how deep indexes may lie in one another.
const maxIndexDepth = 4

// ociImage follows a descriptor of a layout to one image.
func (a *archive) ociImage(ctx context.Context, d ocispec.Descriptor, platform *ocispec.Platform, depth int) (*pending, error) {
	raw, err := a.blob(ctx, d)
	if err != nil {
		return nil, err
	}
	if images.IsIndexType(d.MediaType) {
		if depth >= maxIndexDepth {
			return nil, errorf(errdefs.ErrInvalidArgument, "the archive's indexes lie in one another without end")
		}
		index, err := parseIndex(raw)
		if err != nil {
			return nil, err
		}
		d, err = choose(index.Manifests, platform)
		if err != nil {
			return nil, err
		}
		return a.ociImage(ctx, d, platform, depth+1)
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil, err
	}
	layers := make([]string, 0, len(m.Layers))
	for _, l := range m.Layers {
		name, err := blobName(l.Digest)
		if err != nil {
			return nil, err
		}
		if _, err := a.verified(l); err != nil {
			return nil, err
		}
		layers = append(layers, name)
	}
	if _, err := a.verified(m.Config); err != nil {
		return nil, err
	}
	name, err := blobName(m.Config.Digest)
	if err != nil {
		return nil, err
	}
	return a.image(ctx, name, layers)
}

// verified finds a blob of a layout and checks that it is what its name says.
func (a *archive) verified(d ocispec.Descriptor) (*member, error) {
	name, err := blobName(d.Digest)
	if err != nil {
		return nil, err
	}
	m, err := a.find(name)
	if err != nil {
		return nil, err
	}
	if m.digest != d.Digest {
		return nil, errorf(errdefs.ErrInvalidArgument, "the archive is broken: its %s has the digest %s", name, m.digest)
	}
	return m, nil
}

func (a *archive) blob(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	if _, err := a.verified(d); err != nil {
		return nil, err
	}
	name, err := blobName(d.Digest)
	if err != nil {
		return nil, err
	}
	raw, _, err := a.document(ctx, name)
	return raw, err
}

func blobName(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return "", errorf(errdefs.ErrInvalidArgument, "the image's manifest has %q where a sha256 digest should be", d)
	}
	return "blobs/sha256/" + d.Encoded(), nil
}

// layoutName gives the name that an index of a layout has for an image.
func layoutName(d ocispec.Descriptor) string {
	if n := d.Annotations[images.AnnotationImageName]; n != "" {
		return n
	}
	n := d.Annotations[ocispec.AnnotationRefName]
	if !strings.ContainsAny(n, ":/") {
		return "" // a tag alone names no image
	}
	if _, err := reference.ParseNormalizedNamed(n); err != nil {
		return ""
	}
	return n
}

// parseIndex reads an index or manifest list.
func parseIndex(raw []byte) (*ocispec.Index, error) {
	var i ocispec.Index
	if err := json.Unmarshal(raw, &i); err != nil {
		return nil, errorf(errdefs.ErrInvalidArgument, "the image's index is not what it should be: %w", err)
	}
	return &i, nil
}

// parseManifest reads a manifest and checks its descriptors.
func parseManifest(raw []byte) (*ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, errorf(errdefs.ErrInvalidArgument, "the image's manifest is not what it should be: %w", err)
	}
	for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if _, err := blobName(d.Digest); err != nil {
			return nil, err
		}
	}
	return &m, nil
}

// notAnImage recognises what indexes hold beside images: attestations.
func notAnImage(d ocispec.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] != "" || d.Platform != nil && d.Platform.OS == "unknown"
}

// choose takes the image for a platform from an index's; nil is this machine's,
// or whichever there is if there is only one.
func choose(ds []ocispec.Descriptor, platform *ocispec.Platform) (ocispec.Descriptor, error) {
	want := platforms.DefaultSpec()
	if platform != nil {
		want = *platform
	}
	match := platforms.Only(platforms.Normalize(want))
	var best *ocispec.Descriptor
	var candidates []ocispec.Descriptor
	for _, d := range ds {
		if notAnImage(d) {
			continue
		}
		candidates = append(candidates, d)
		if d.Platform != nil && match.Match(*d.Platform) && (best == nil || match.Less(*d.Platform, *best.Platform)) {
			best = &d
		}
	}
	if best != nil {
		return *best, nil
	}
	if len(candidates) == 1 && (platform == nil || candidates[0].Platform == nil) {
		return candidates[0], nil
	}
	return ocispec.Descriptor{}, errorf(errdefs.ErrNotFound, "no matching manifest for %s in the manifest list entries", platforms.Format(want))
}
