package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// unpackers is how many layers of one image are unpacked at a time.
const unpackers = 2

// pending is an image whose blobs are in the content store and that has yet to
// be unpacked and named.
type pending struct {
	config   *config
	configOf ocispec.Descriptor
	target   ocispec.Descriptor // manifest, set by seal
	layers   []ocispec.Descriptor
	names    []string // full names of tags and repository digests
	// top is what the names refer to if it is not the manifest: an index.
	top *ocispec.Descriptor
	// done[i] is closed when layer i has been made; where it fails, all end.
	done []chan struct{}
}

// check compares a manifest with its config.
func (p *pending) check() error {
	if n, m := len(p.layers), len(p.config.chains); n != m {
		return errorf(errdefs.ErrInvalidArgument, "the image's manifest has %d layers and its config %d: it is broken", n, m)
	}
	return nil
}

// unpack makes the layers of an image that are not there. work is called for
// each, several at a time and the lower ones first, and calls unpackLayer when
// the layer's blob is in the content store.
func (o *operation) unpack(ctx context.Context, p *pending, limit int, work func(ctx context.Context, i int) error) error {
	p.done = nil
	for _, chain := range p.config.chains {
		o.pin(chain)
		p.done = append(p.done, make(chan struct{}))
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(limit)
	for i := range p.layers {
		g.Go(func() error {
			if err := work(ctx, i); err != nil {
				return fmt.Errorf("layer %s: %w", short(p.layers[i].Digest), err)
			}
			close(p.done[i])
			return nil
		})
	}
	return g.Wait()
}

// unpackLayer makes one layer; it is called by unpack's work.
func (o *operation) unpackLayer(ctx context.Context, p *pending, i int) error {
	diffID := p.config.image.RootFS.DiffIDs[i]
	lower := &lowerLayers{ctx: ctx, s: o.s, p: p, count: i}
	defer lower.close()
	return o.s.layers.make(ctx, p.config.chains[i], lower.lookup, func(ctx context.Context) (tarFile, error) {
		return o.s.openTar(ctx, p.layers[i], diffID)
	})
}

// seal writes an image's config and manifest, with the labels that keep what
// they refer to.
func (o *operation) seal(ctx context.Context, p *pending) error {
	if err := o.writeBlob(ctx, p.configOf, p.config.raw, p.config.labels()); err != nil {
		return err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: p.configOf, Layers: p.layers,
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	p.target = ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	return o.writeBlob(ctx, p.target, raw, manifestLabels(&m))
}

// manifestLabels are those that a manifest's blob carries to keep its config
// and layers.
func manifestLabels(m *ocispec.Manifest) map[string]string {
	l := map[string]string{"containerd.io/gc.ref.content.config": m.Config.Digest.String()}
	for i, d := range m.Layers {
		l[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = d.Digest.String()
	}
	return l
}

// writeBlob writes a small blob with labels, or adds the labels to one that is
// there.
func (o *operation) writeBlob(ctx context.Context, d ocispec.Descriptor, raw []byte, labels map[string]string) error {
	err := content.WriteBlob(ctx, o.s.content, "write-"+o.lease.ID+"-"+d.Digest.String(), bytes.NewReader(raw), d, content.WithLabels(labels))
	if err != nil {
		return err
	}
	return o.label(ctx, d.Digest, labels)
}

// label adds labels to a blob that lacks them.
func (o *operation) label(ctx context.Context, d digest.Digest, labels map[string]string) error {
	info, err := o.s.content.Info(ctx, d)
	if err != nil {
		return err
	}
	var missing []string
	for k, v := range labels {
		if info.Labels[k] != v {
			missing = append(missing, "labels."+k)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if info.Labels == nil {
		info.Labels = map[string]string{}
	}
	maps.Copy(info.Labels, labels)
	_, err = o.s.content.Update(ctx, info, missing...)
	return err
}

// record puts unpacked images on record: from here on they exist.
func (o *operation) record(ctx context.Context, ps ...*pending) error {
	o.s.names.Lock()
	defer o.s.names.Unlock()
	for _, p := range ps {
		id := p.configOf.Digest.String()
		labels := map[string]string{labelID: id}
		if _, err := o.s.images.Create(ctx, images.Image{Name: id, Target: p.target, Labels: labels}); err != nil && !errdefs.IsAlreadyExists(err) {
			return err
		}
		top := p.target
		if p.top != nil {
			top = *p.top
		}
		for _, n := range p.names {
			if err := o.s.put(ctx, images.Image{Name: n, Target: top, Labels: labels}); err != nil {
				return err
			}
		}
	}
	return nil
}

// result reads an image that was just put on record, or what it would be if it
// was removed in the meantime: the lease keeps its config until o ends.
func (o *operation) result(ctx context.Context, p *pending) (*Image, error) {
	img, err := o.s.Resolve(ctx, p.configOf.Digest.String())
	if errdefs.IsNotFound(err) {
		return o.s.read(ctx, &records{id: images.Image{Name: p.configOf.Digest.String(), Target: p.target}})
	}
	return img, err
}

// short gives the first 12 digits of a digest, as docker shows it.
func short(d digest.Digest) string {
	e := d.Encoded()
	return e[:min(12, len(e))]
}
