package image

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxConfig bounds in bytes the JSON documents of an image: config, manifest
// and index.
const maxConfig = 8 << 20

// Image is one image as it is in the store. It is a copy: changing it changes
// nothing.
type Image struct {
	// ID is the digest of the config.
	ID digest.Digest
	// Target is the image's manifest.
	Target ocispec.Descriptor
	// Names are the tags, in the short form ("busybox:latest"), sorted.
	Names []string
	// Digests are the repository digests, "busybox@sha256:...", sorted.
	Digests []string
	// Config is what RawConfig says in OCI's words; docker's further fields
	// (Healthcheck, OnBuild, Shell) are in RawConfig only.
	Config    ocispec.Image
	RawConfig []byte
	// Size is the sum of the layers' sizes in bytes.
	Size    int64
	Created time.Time // zero if the config does not say
	// Layers are in the order in which they lie, the lowest first.
	Layers []Layer
}

// Layer is one layer of an image.
type Layer struct {
	ChainID, DiffID digest.Digest
	// File is the absolute path of the EROFS file; it may be open for as long
	// as needed, and is there as long as an image or a user has the layer.
	File string
	// Size is the file's size in bytes. It is 0 if someone took the file away:
	// pulling or loading the image again makes a new one.
	Size int64
}

// config is a parsed image config. It never changes.
type config struct {
	raw    []byte
	image  ocispec.Image
	chains []digest.Digest
}

// parseConfig reads an image config and checks what the store relies on.
func parseConfig(raw []byte) (*config, error) {
	c := &config{raw: raw}
	if err := json.Unmarshal(raw, &c.image); err != nil {
		return nil, errorf(errdefs.ErrInvalidArgument, "the image's config is not what it should be: %v", err)
	}
	diffIDs := c.image.RootFS.DiffIDs
	if t := c.image.RootFS.Type; t != "layers" && (t != "" || len(diffIDs) > 0) {
		return nil, errorf(errdefs.ErrInvalidArgument, "the image's config has a root file system of the unknown type %q", t)
	}
	for _, d := range diffIDs {
		if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
			return nil, errorf(errdefs.ErrInvalidArgument, "the image's config names the layer %q, which is no sha256 digest", d)
		}
	}
	c.chains = identity.ChainIDs(slices.Clone(diffIDs))
	return c, nil
}

// labels are those that a config's blob carries to keep its layers.
func (c *config) labels() map[string]string {
	l := map[string]string{}
	for i, id := range c.chains {
		l[layerLabel(i)] = id.String()
	}
	return l
}

// config reads an image's config, once.
func (s *Store) config(ctx context.Context, id digest.Digest) (*config, error) {
	s.mu.Lock()
	c := s.configs[id]
	s.mu.Unlock()
	if c != nil {
		return c, nil
	}
	raw, err := s.readBlob(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("reading the config of image %s: %w", id, err)
	}
	if c, err = parseConfig(raw); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.configs[id] = c
	s.mu.Unlock()
	return c, nil
}

// readBlob reads a small blob.
func (s *Store) readBlob(ctx context.Context, d digest.Digest) ([]byte, error) {
	info, err := s.content.Info(ctx, d)
	if err != nil {
		return nil, err
	}
	if info.Size > maxConfig {
		return nil, errorf(errdefs.ErrInvalidArgument, "the document %s has %d bytes, more than the %d that are read", d, info.Size, maxConfig)
	}
	return content.ReadBlob(ctx, s.content, ocispec.Descriptor{Digest: d, Size: info.Size})
}

// records are the image store's records of one image.
type records struct {
	id    images.Image
	names []images.Image // tags and repository digests
}

// read makes an Image of its records.
func (s *Store) read(ctx context.Context, r *records) (*Image, error) {
	id := digest.Digest(r.id.Name)
	c, err := s.config(ctx, id)
	if err != nil {
		return nil, err
	}
	img := &Image{ID: id, Target: r.id.Target, Config: c.image, RawConfig: slices.Clone(c.raw)}
	if c.image.Created != nil {
		img.Created = *c.image.Created
	}
	for _, n := range r.names {
		f := familiar(n.Name)
		if strings.Contains(f, "@") {
			img.Digests = append(img.Digests, f)
		} else {
			img.Names = append(img.Names, f)
		}
	}
	slices.Sort(img.Names)
	slices.Sort(img.Digests)
	for i, chain := range c.chains {
		l := Layer{ChainID: chain, DiffID: c.image.RootFS.DiffIDs[i], File: s.layers.path(chain)}
		if st, err := os.Stat(l.File); err == nil {
			l.Size = st.Size()
			img.Size += l.Size
		}
		img.Layers = append(img.Layers, l)
	}
	return img, nil
}

// familiar gives the short form of a record's name.
func familiar(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(ref)
}

// all reads the records of every image, by ID.
func (s *Store) all(ctx context.Context) (map[string]*records, error) {
	recs, err := s.images.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	byID := map[string]*records{}
	for _, r := range recs {
		if r.Labels[labelID] == r.Name {
			byID[r.Name] = &records{id: r}
		}
	}
	for _, r := range recs {
		if b := byID[r.Labels[labelID]]; b != nil && r.Name != b.id.Name {
			b.names = append(b.names, r)
		}
	}
	return byID, nil
}

// List gives every image once, those without a name too, the newest first.
func (s *Store) List(ctx context.Context) ([]Image, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	all, err := s.all(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Image, 0, len(all))
	for _, r := range all {
		img, err := s.read(ctx, r)
		if errdefs.IsNotFound(err) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		list = append(list, *img)
	}
	slices.SortFunc(list, func(a, b Image) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return list, nil
}
