// Package erofs turns the tar of an image layer into one EROFS file that the
// kernel can mount as a layer of an overlay file system.
//
// What a layer says in OCI's words becomes what overlay understands: ".wh.x"
// is a character device 0:0 called x, ".wh..wh..opq" is the extended attribute
// trusted.overlay.opaque=y of its directory. Owners, modes, times, extended
// attributes, devices, fifos, symbolic and hard links are kept as they are.
//
// What differs from the tar: extended attributes that only overlay itself may
// set (trusted.overlay.*) are left out, so that a layer cannot redirect into
// another one.
//
// The package knows nothing of stores, digests, compression and images: it
// reads an uncompressed tar that can be read at any offset, and writes a file.
package erofs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	goerofs "github.com/erofs/go-erofs"
)

// blockSize is the file system's block size in bytes: every kernel that has
// EROFS mounts it, as it is the smallest page size.
const blockSize = 4096

// RefusedError says in one sentence why a layer is not taken. It is of the
// kind errdefs.ErrInvalidArgument.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// Unwrap gives the error its kind.
func (e *RefusedError) Unwrap() error { return errdefs.ErrInvalidArgument }

func refuse(format string, args ...any) error {
	return &RefusedError{Reason: fmt.Sprintf(format, args...)}
}

// Options are what a conversion may need beside the tar.
type Options struct {
	// TempDir is where the expanded data of sparse files goes meanwhile.
	TempDir string
	// Lower finds what the layers below have at a path, for directories that
	// the tar names only as part of a longer path. Nil: there is nothing below.
	Lower Lower
}

// Convert reads a tar of size bytes and writes an EROFS image to out, which
// must be empty. The image depends on the tar and on Lower's answers alone.
//
// A tar that is broken, cut off, or has an entry that a layer may not have
// gives a *RefusedError. On any error out's content is of no use. Convert does
// not sync out.
func Convert(ctx context.Context, r io.ReaderAt, size int64, out *os.File, o Options) (err error) {
	if size == 0 {
		return refuse("the archive is empty: not even the end of an archive is there")
	}
	t := newTree(o.Lower)
	sp := &spool{dir: o.TempDir}
	defer func() { err = errors.Join(err, sp.close()) }()
	if err := readTar(ctx, io.NewSectionReader(r, 0, size), t, sp); err != nil {
		return err
	}
	t.finish()
	w := newBlockWriter(ctx, out)
	img := goerofs.Create(w, goerofs.WithBlockSize(blockSize), goerofs.WithBuildTime(0, 0))
	if err := img.CopyFrom(t); err != nil {
		return fmt.Errorf("laying out the EROFS image: %w", err)
	}
	if err := img.Close(); err != nil {
		return fmt.Errorf("writing the EROFS image: %w", err)
	}
	if err := w.close(); err != nil {
		return err
	}
	if err := t.joinLinks(out); err != nil {
		return fmt.Errorf("joining hard links in the EROFS image: %w", err)
	}
	return nil
}

// readTar puts every entry of the tar into the tree. File data stays where it
// is, only sparse files are expanded to the spool.
func readTar(ctx context.Context, sr *io.SectionReader, t *tree, sp *spool) error {
	tr := tar.NewReader(sr)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return tarError(err, n)
		}
		d := data{size: h.Size, from: sr}
		if isSparse(h) {
			d, err = sp.expand(ctx, tr, h)
		} else {
			d.off, err = sr.Seek(0, io.SeekCurrent)
		}
		if err != nil {
			return err
		}
		if hasData(h) && d.from == io.ReaderAt(sr) && d.size > sr.Size()-d.off {
			return refuse("the archive ends inside the file %q", h.Name)
		}
		if err := t.add(h, d); err != nil {
			return err
		}
	}
}

func tarError(err error, entries int) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && entries > 0:
		return refuse("the archive is cut off after %d entries", entries)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, tar.ErrFieldTooLong):
		if entries == 0 {
			return refuse("this is not a tar archive")
		}
		return refuse("the archive is broken after %d entries", entries)
	default:
		return fmt.Errorf("reading the archive: %w", err)
	}
}

func hasData(h *tar.Header) bool {
	return h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeCont || h.Typeflag == tar.TypeGNUSparse
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for _, k := range []string{"GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize"} {
		if _, ok := h.PAXRecords[k]; ok {
			return true
		}
	}
	return false
}
