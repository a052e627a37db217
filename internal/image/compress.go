package image

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ulikunitz/xz"
)

// compression is how bytes are packed, told by how they begin.
type compression string

const (
	plain      compression = ""
	gzipped    compression = "gzip"
	zstdPacked compression = "zstd"
	xzPacked   compression = "xz"
	bzip2ed    compression = "bzip2"
)

// sniffLen is how many bytes sniff wants to see.
const sniffLen = 6

// sniff tells the compression from the first bytes.
func sniff(b []byte) compression {
	switch {
	case bytes.HasPrefix(b, []byte{0x1f, 0x8b}):
		return gzipped
	case bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstdPacked
	case bytes.HasPrefix(b, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return xzPacked
	case bytes.HasPrefix(b, []byte("BZh")):
		return bzip2ed
	case len(b) >= 4 && b[0]&0xf0 == 0x50 && bytes.Equal(b[1:4], []byte{0x2a, 0x4d, 0x18}):
		return zstdPacked // begins with a skippable frame
	default:
		return plain
	}
}

// unpacked gives the uncompressed bytes of r. Broken data gives
// errdefs.ErrInvalidArgument while it is read.
func unpacked(r io.Reader) (io.ReadCloser, compression, error) {
	br := bufio.NewReaderSize(r, 1<<20)
	head, err := br.Peek(sniffLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, plain, err
	}
	c := sniff(head)
	var d io.Reader
	var stop func()
	switch c {
	case gzipped:
		d, err = gzip.NewReader(br)
	case zstdPacked:
		var z *zstd.Decoder
		if z, err = zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20)); err == nil {
			d, stop = z, z.Close
		}
	case xzPacked:
		d, err = xz.NewReader(newXZGuard(br))
	case bzip2ed:
		d = bzip2.NewReader(br)
	default:
		return io.NopCloser(br), plain, nil
	}
	if err != nil {
		return nil, c, errorf(errdefs.ErrInvalidArgument, "the %s data is broken: %w", c, err)
	}
	src := &blamed{Reader: d, c: c}
	return readAhead(src, stop), c, nil
}

// blamed turns a decompressor's errors into sentences.
type blamed struct {
	io.Reader
	c compression
}

func (b *blamed) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	switch {
	case err == nil, err == io.EOF, errors.Is(err, context.Canceled):
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errorf(errdefs.ErrInvalidArgument, "the %s data is cut off", b.c)
	default:
		err = errorf(errdefs.ErrInvalidArgument, "the %s data is broken: %w", b.c, err)
	}
	return n, err
}

// ahead reads in a goroutine of its own, some pieces ahead.
type ahead struct {
	pieces chan piece
	free   chan []byte
	stop   chan struct{}
	done   chan struct{}
	cur    []byte
	buf    []byte
	err    error
}

type piece struct {
	b   []byte
	err error
}

func readAhead(r io.Reader, closed func()) *ahead {
	a := &ahead{pieces: make(chan piece, 4), free: make(chan []byte, 6), stop: make(chan struct{}), done: make(chan struct{})}
	for range cap(a.free) {
		a.free <- make([]byte, 256<<10)
	}
	go func() {
		defer close(a.done)
		if closed != nil {
			defer closed()
		}
		for {
			var buf []byte
			select {
			case buf = <-a.free:
			case <-a.stop:
				return
			}
			n, err := fill(r, buf)
			select {
			case a.pieces <- piece{buf[:n], err}:
			case <-a.stop:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return a
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.cur) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if a.buf != nil {
			a.free <- a.buf[:cap(a.buf)]
		}
		var next piece
		select {
		case next = <-a.pieces:
		case <-a.stop:
			return 0, os.ErrClosed
		}
		a.buf, a.cur, a.err = next.b, next.b, next.err
	}
	n := copy(p, a.cur)
	a.cur = a.cur[n:]
	return n, nil
}

// fill reads until buf is full or r gives an error, which it returns as it is:
// the end of a stream stays apart from a stream that was cut off.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var got int
		got, err = r.Read(buf[n:])
		n += got
	}
	return n, err
}

// Close stops the goroutine, and a Read that waits for it. It waits for a read of
// what is unpacked that is under way.
func (a *ahead) Close() error {
	close(a.stop)
	<-a.done
	return nil
}

// openTar opens a layer's uncompressed tar: the blob itself, or a temporary
// file with what it unpacks to. A layer that is not what diffID says is
// refused.
func (s *Store) openTar(ctx context.Context, d ocispec.Descriptor, diffID digest.Digest) (_ tarFile, err error) {
	blob, err := s.content.ReaderAt(ctx, d)
	if err != nil {
		return nil, err
	}
	head := make([]byte, sniffLen)
	n, err := blob.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, errors.Join(err, blob.Close())
	}
	if sniff(head[:n]) == plain {
		if d.Digest != diffID {
			return nil, errors.Join(lies(d.Digest, diffID), blob.Close())
		}
		return blob, nil
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	return s.decompress(ctx, io.NewSectionReader(blob, 0, blob.Size()), diffID)
}

func lies(got, diffID digest.Digest) error {
	return errorf(errdefs.ErrInvalidArgument, "the layer lies about its digest: the image's config says %s, its content is %s", diffID, got)
}

// decompress unpacks a layer to a temporary file without a name.
func (s *Store) decompress(ctx context.Context, r io.Reader, diffID digest.Digest) (_ tarFile, err error) {
	in, _, err := unpacked(r)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	f, err := os.CreateTemp(s.layers.tmp, "tar-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	h := digest.SHA256.Digester()
	size, err := copyContext(ctx, io.MultiWriter(f, h.Hash()), in)
	if err == nil && h.Digest() != diffID {
		err = lies(h.Digest(), diffID)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &tempTar{File: f, size: size}, nil
}

type tempTar struct {
	*os.File
	size int64
}

func (t *tempTar) Size() int64 { return t.size }

// copyContext copies in large pieces until ctx ends.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) (n int64, err error) {
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		got, err := fill(r, buf)
		if got > 0 {
			if _, err := w.Write(buf[:got]); err != nil {
				return n, fmt.Errorf("writing: %w", err)
			}
			n += int64(got)
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
