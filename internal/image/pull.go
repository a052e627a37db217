package image

import (
	"context"
	"errors"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fetchers is how many layers of one image are downloaded at a time.
const fetchers = 3

// PullOptions say how to get an image from its registry.
type PullOptions struct {
	// Platform selects from an image that has several; nil: this machine's.
	Platform *ocispec.Platform
	// Auth is what the registry wants to be shown; nil: nothing.
	Auth     *Auth
	Progress func(Progress)
}

// puller is one pull.
type puller struct {
	o       *operation
	ref     reference.Named
	fetcher remotes.Fetcher
	rep     *reporter
	opts    PullOptions
}

// Pull gets an image from its registry and gives it the name that it was
// pulled by. What it has already is not fetched again. An unknown repository
// or tag is errdefs.ErrNotFound, an unreachable registry
// errdefs.ErrUnavailable, broken content errdefs.ErrInvalidArgument, missing
// rights errdefs.ErrPermissionDenied.
func (s *Store) Pull(ctx context.Context, ref string, opts PullOptions) (img *Image, err error) {
	named, err := parseName(ref)
	if err != nil {
		return nil, err
	}
	doing := "pulling " + reference.FamiliarString(named)
	ctx, o, err := s.begin(ctx)
	if err != nil {
		return nil, s.explain(doing, err)
	}
	defer func() {
		err = errors.Join(err, o.end(ctx, err != nil))
		if err != nil {
			err = s.explain(doing, pullError(named, err))
		}
	}()
	p := &puller{o: o, ref: named, rep: &reporter{to: opts.Progress}, opts: opts}
	return p.pull(ctx)
}

func (p *puller) pull(ctx context.Context) (*Image, error) {
	s := p.o.s
	resolver := s.resolver(ctx, p.ref, p.opts.Auth)
	name, top, err := resolver.Resolve(ctx, p.ref.String())
	if err != nil {
		return nil, err
	}
	if p.fetcher, err = resolver.Fetcher(ctx, name); err != nil {
		return nil, err
	}
	p.rep.say(tagOf(p.ref), "Pulling from "+reference.Path(p.ref), 0, 0)
	pend, err := p.manifest(ctx, top)
	if err != nil {
		return nil, err
	}
	id := pend.configOf.Digest
	_, err = s.images.Get(ctx, id.String())
	fresh := errdefs.IsNotFound(err)
	if err := p.layers(ctx, pend); err != nil {
		return nil, err
	}
	if err := p.o.label(ctx, id, pend.config.labels()); err != nil {
		return nil, err
	}
	withDigest, err := reference.WithDigest(reference.TrimNamed(p.ref), top.Digest)
	if err != nil {
		return nil, err
	}
	pend.names = []string{withDigest.String()}
	if p.ref.String() != withDigest.String() {
		pend.names = append(pend.names, p.ref.String())
	}
	if err := p.o.record(ctx, pend); err != nil {
		return nil, err
	}
	p.rep.say("", "Digest: "+top.Digest.String(), 0, 0)
	if fresh {
		p.rep.say("", "Status: Downloaded newer image for "+reference.FamiliarString(p.ref), 0, 0)
	} else {
		p.rep.say("", "Status: Image is up to date for "+reference.FamiliarString(p.ref), 0, 0)
	}
	return p.o.result(ctx, pend)
}

func tagOf(ref reference.Named) string {
	if t, ok := ref.(reference.Tagged); ok {
		return t.Tag()
	}
	if d, ok := ref.(reference.Digested); ok {
		return d.Digest().String()
	}
	return ""
}

// manifest fetches an image's documents: index, manifest, config.
func (p *puller) manifest(ctx context.Context, top ocispec.Descriptor) (*pending, error) {
	d := top
	for depth := 0; images.IsIndexType(d.MediaType); depth++ {
		if depth >= maxIndexDepth {
			return nil, errorf(errdefs.ErrInvalidArgument, "the image's indexes lie in one another without end")
		}
		raw, err := p.document(ctx, d)
		if err != nil {
			return nil, err
		}
		index, err := parseIndex(raw)
		if err != nil {
			return nil, err
		}
		chosen, err := choose(index.Manifests, p.platform())
		if err != nil {
			return nil, err
		}
		if err := p.o.label(ctx, d.Digest, map[string]string{"containerd.io/gc.ref.content.m." + short(chosen.Digest): chosen.Digest.String()}); err != nil {
			return nil, err
		}
		d = chosen
	}
	if !images.IsManifestType(d.MediaType) {
		return nil, errorf(errdefs.ErrInvalidArgument, "its manifest is of the kind %q, which is not supported: push it again with a newer tool", d.MediaType)
	}
	raw, err := p.document(ctx, d)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil, err
	}
	if !images.IsConfigType(m.Config.MediaType) {
		return nil, errorf(errdefs.ErrInvalidArgument, "it is not a container image but something of the kind %q", m.Config.MediaType)
	}
	if raw, err = p.document(ctx, m.Config); err != nil {
		return nil, err
	}
	c, err := parseConfig(raw)
	if err != nil {
		return nil, err
	}
	if err := p.checkPlatform(c); err != nil {
		return nil, err
	}
	pend := &pending{config: c, configOf: m.Config, target: d, top: &top, layers: m.Layers}
	if err := pend.check(); err != nil {
		return nil, err
	}
	return pend, p.o.label(ctx, d.Digest, manifestLabels(m))
}

// platform is what to take of an index.
func (p *puller) platform() *ocispec.Platform {
	if p.opts.Platform != nil {
		return p.opts.Platform
	}
	return new(platforms.DefaultSpec())
}

// checkPlatform refuses an image for another platform than was asked for.
func (p *puller) checkPlatform(c *config) error {
	if p.opts.Platform == nil || c.image.OS == "" {
		return nil
	}
	want := platforms.Normalize(*p.opts.Platform)
	if !platforms.Only(want).Match(c.image.Platform) {
		return errorf(errdefs.ErrNotFound, "image with reference %s was found but its platform (%s) does not match the specified platform (%s)",
			reference.FamiliarString(p.ref), platforms.Format(c.image.Platform), platforms.Format(want))
	}
	return nil
}

// document fetches a JSON document.
func (p *puller) document(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	if d.Size > maxConfig {
		return nil, errorf(errdefs.ErrInvalidArgument, "its document %s has %d bytes, more than the %d that are read", d.Digest, d.Size, maxConfig)
	}
	if err := p.fetch(ctx, d, p.fetcher); err != nil {
		return nil, err
	}
	return p.o.s.readBlob(ctx, d.Digest)
}

// fetch gets a blob, or puts one that is there under the operation's lease.
func (p *puller) fetch(ctx context.Context, d ocispec.Descriptor, from remotes.Fetcher) error {
	err := remotes.Fetch(ctx, p.o.s.content, from, d)
	switch {
	case errdefs.IsAlreadyExists(err):
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errorf(errdefs.ErrUnavailable, "the registry broke off %s before its %d bytes were there: try again", d.Digest, d.Size)
	case errdefs.IsFailedPrecondition(err):
		return errorf(errdefs.ErrInvalidArgument, "what the registry sent for %s is something else: its digest or size differs", d.Digest)
	default:
		return err
	}
}

// layers downloads and unpacks what is missing.
func (p *puller) layers(ctx context.Context, pend *pending) error {
	for _, d := range pend.layers {
		p.rep.say(short(d.Digest), "Pulling fs layer", 0, 0)
	}
	return p.o.unpack(ctx, pend, fetchers, func(ctx context.Context, i int) error {
		return p.layer(ctx, pend, i)
	})
}

func (p *puller) layer(ctx context.Context, pend *pending, i int) error {
	d := pend.layers[i]
	id := short(d.Digest)
	fetched := false
	err := p.fetch(ctx, d, remotes.FetcherFunc(func(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
		fetched = true
		rc, err := p.fetcher.Fetch(ctx, d)
		if err != nil {
			return nil, err
		}
		return &download{counter: counter{Reader: rc, r: p.rep, id: id, status: "Downloading", total: d.Size}, rc: rc}, nil
	}))
	if err != nil {
		return err
	}
	if !fetched && p.o.s.layers.has(pend.config.chains[i]) {
		p.rep.say(id, "Already exists", 0, 0)
		return nil
	}
	p.rep.say(id, "Download complete", 0, 0)
	p.rep.say(id, "Extracting", d.Size, d.Size)
	if err := p.o.unpackLayer(ctx, pend, i); err != nil {
		return err
	}
	p.rep.say(id, "Pull complete", 0, 0)
	return nil
}

// download counts a blob's bytes and can go on from where a download broke off.
type download struct {
	counter
	rc io.ReadCloser
}

func (d *download) Seek(offset int64, whence int) (int64, error) {
	s, ok := d.rc.(io.Seeker)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	n, err := s.Seek(offset, whence)
	if err == nil {
		d.n = n
	}
	return n, err
}

func (d *download) Close() error { return d.rc.Close() }
