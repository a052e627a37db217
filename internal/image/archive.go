package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// smallMember is up to how many bytes a member of an archive stays in
	// memory until it is known what it is for, smallMembers how many in all.
	smallMember  = 256 << 10
	smallMembers = 32 << 20
	// maxMembers bounds how many members an archive may have, maxMemberName the
	// bytes in the name of each: an image has a few for each of its layers.
	maxMembers    = 1 << 17
	maxMemberName = 4096
	// maxLinks bounds the links from one member of an archive to the next.
	maxLinks = 8
)

// member is one file of an image archive.
type member struct {
	digest digest.Digest
	size   int64
	small  []byte // its content, unless it is in the content store
	head   []byte // its first bytes
	link   string // instead of all that: the member that it stands for
}

// archive is what was read of an image archive.
type archive struct {
	o       *operation
	members map[string]*member
	small   int64
	entries int
}

// readArchive puts an archive's members into the content store, under the
// operation's lease.
func (o *operation) readArchive(ctx context.Context, r io.Reader, rep *reporter) (*archive, error) {
	in, _, err := unpacked(r)
	if err != nil {
		return nil, err
	}
	a := &archive{o: o, members: map[string]*member{}}
	err = a.read(ctx, in, rep)
	if err := errors.Join(err, in.Close()); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *archive) read(ctx context.Context, in io.Reader, rep *reporter) error {
	tr := tar.NewReader(in)
	for ; ; a.entries++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if err == io.EOF {
			// What follows the archive's end is only read for the compressed
			// stream's own check sum.
			_, err := copyContext(ctx, io.Discard, in)
			return a.broken(err)
		}
		if err != nil {
			return a.broken(err)
		}
		if a.entries >= maxMembers || len(h.Name) > maxMemberName || len(h.Linkname) > maxMemberName {
			return errorf(errdefs.ErrInvalidArgument, "this is not an image archive: it has more members, or longer names, than one can have; `import` takes a root file system")
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		switch h.Typeflag {
		case tar.TypeReg:
			m, err := a.take(ctx, tr, name, h.Size, rep)
			if err != nil {
				return a.broken(err)
			}
			a.members[name] = m
		case tar.TypeSymlink:
			a.members[name] = &member{link: strings.TrimPrefix(path.Join("/", path.Dir(name), h.Linkname), "/")}
		case tar.TypeLink:
			a.members[name] = &member{link: strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")}
		}
	}
}

// broken gives a tar reader's errors a sentence.
func (a *archive) broken(err error) error {
	cut := errors.Is(err, io.ErrUnexpectedEOF)
	switch {
	case err == nil || errdefs.IsInvalidArgument(err) || !cut && !errors.Is(err, tar.ErrHeader):
		return err
	case a.entries == 0 && len(a.members) == 0 && !cut:
		return errorf(errdefs.ErrInvalidArgument, "this is not an image archive: it is no tar file")
	case cut:
		return errorf(errdefs.ErrInvalidArgument, "the archive is cut off or broken after %d entries", a.entries)
	default:
		return errorf(errdefs.ErrInvalidArgument, "the archive is broken after %d entries", a.entries)
	}
}

// shown is what progress calls a member: the digest in its path, in short.
func shown(name string) string {
	for part := range strings.SplitSeq(name, "/") {
		if len(part) >= 64 {
			return part[:12]
		}
	}
	return path.Base(name)
}

// take reads one member.
func (a *archive) take(ctx context.Context, r io.Reader, name string, size int64, rep *reporter) (*member, error) {
	if size <= smallMember && a.small+size <= smallMembers {
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		a.small += size
		return &member{digest: digest.FromBytes(b), size: int64(len(b)), small: b, head: b[:min(len(b), sniffLen)]}, nil
	}
	head := make([]byte, sniffLen)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	r = io.MultiReader(bytes.NewReader(head), r)
	counted := &counter{Reader: r, r: rep, id: shown(name), status: "Loading layer", total: size}
	d, n, err := a.o.ingest(ctx, fmt.Sprintf("member-%d", a.entries), counted, size)
	if err != nil {
		return nil, err
	}
	return &member{digest: d, size: n, head: head}, nil
}

// ingest streams a blob whose digest is not known yet into the content store.
// size is 0 if it is not known.
func (o *operation) ingest(ctx context.Context, name string, r io.Reader, size int64) (digest.Digest, int64, error) {
	w, err := content.OpenWriter(ctx, o.s.content, content.WithRef(name+"-"+o.lease.ID))
	if err != nil {
		return "", 0, err
	}
	n, err := copyContext(ctx, w, r)
	if err != nil {
		return "", 0, errors.Join(err, w.Close())
	}
	d := w.Digest()
	if err := w.Commit(ctx, size, d); err != nil && !errdefs.IsAlreadyExists(err) {
		return "", 0, errors.Join(err, w.Close())
	}
	return d, n, w.Close()
}

// find gives a member by name, through links.
func (a *archive) find(name string) (*member, error) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for range maxLinks {
		m := a.members[name]
		if m == nil {
			return nil, errorf(errdefs.ErrInvalidArgument, "the archive lacks %q, which its manifest names", name)
		}
		if m.link == "" {
			return m, nil
		}
		name = m.link
	}
	return nil, errorf(errdefs.ErrInvalidArgument, "the archive's %q is a link without end", name)
}

// document gives the content of a member that must be JSON.
func (a *archive) document(ctx context.Context, name string) ([]byte, *member, error) {
	m, err := a.find(name)
	if err != nil {
		return nil, nil, err
	}
	if m.small != nil || m.size == 0 {
		return m.small, m, nil
	}
	b, err := a.o.s.readBlob(ctx, m.digest)
	return b, m, err
}

// layer puts a member that is a layer into the content store and describes it.
func (a *archive) layer(ctx context.Context, name string) (ocispec.Descriptor, error) {
	m, err := a.find(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: layerType(m.head), Digest: m.digest, Size: m.size}
	if m.small != nil {
		if err := a.o.writeBlob(ctx, d, m.small, nil); err != nil {
			return d, err
		}
	}
	return d, nil
}

// layerType gives a layer's media type from its first bytes.
func layerType(head []byte) string {
	switch sniff(head) {
	case gzipped:
		return ocispec.MediaTypeImageLayerGzip
	case zstdPacked:
		return ocispec.MediaTypeImageLayerZstd
	default:
		return ocispec.MediaTypeImageLayer
	}
}
