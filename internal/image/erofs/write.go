package erofs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// blockWriter writes a file in large pieces and leaves holes where a whole
// block is zero.
type blockWriter struct {
	ctx  context.Context
	f    *os.File
	buf  []byte
	off  int64 // where buf begins in the file
	size int64
	zero [blockSize]byte
}

func newBlockWriter(ctx context.Context, f *os.File) *blockWriter {
	return &blockWriter{ctx: ctx, f: f, buf: make([]byte, 0, 1<<20)}
}

func (w *blockWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[:take]...)
		p = p[take:]
		if len(w.buf) == cap(w.buf) {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// Seek takes absolute offsets only.
func (w *blockWriter) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart || offset < 0 {
		return 0, errors.ErrUnsupported
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	w.off = offset
	return offset, nil
}

func (w *blockWriter) flush() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	buf := w.buf
	for len(buf) > 0 {
		n, hole := w.run(buf)
		if !hole {
			if _, err := w.f.WriteAt(buf[:n], w.off); err != nil {
				return err
			}
		}
		w.off += int64(n)
		buf = buf[n:]
	}
	w.size = max(w.size, w.off)
	w.buf = w.buf[:0]
	return nil
}

// run gives the length of what buf begins with: blocks of zeros or others.
// Nothing that was written is ever overwritten with zeros, except the first
// block, which was all zeros when it was written.
func (w *blockWriter) run(buf []byte) (n int, hole bool) {
	for n < len(buf) {
		end := min(n+blockSize, len(buf))
		zero := bytes.Equal(buf[n:end], w.zero[:end-n])
		if n > 0 && zero != hole {
			return n, hole
		}
		n, hole = end, zero
	}
	return n, hole
}

// close writes what is left and gives the file its length.
func (w *blockWriter) close() error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.f.Truncate(w.size)
}

// maxSparse bounds in bytes what the sparse files of one layer expand to: a
// few bytes of tar can claim any length, and each byte of it is gone through.
const maxSparse = 16 << 30

// spool holds the expanded data of sparse files, with holes.
type spool struct {
	dir string
	f   *os.File
	off int64
}

// expand copies a sparse file from the tar to the spool.
func (s *spool) expand(ctx context.Context, tr *tar.Reader, h *tar.Header) (data, error) {
	if h.Size > maxSparse-s.off {
		return data{}, refuse("the layer's sparse file %q is too long: those of a layer may have %d bytes in all", h.Name, int64(maxSparse))
	}
	if s.f == nil {
		f, err := os.CreateTemp(s.dir, "sparse-")
		if err != nil {
			return data{}, fmt.Errorf("making a place for sparse files: %w", err)
		}
		s.f = f
		if err := os.Remove(f.Name()); err != nil {
			return data{}, err
		}
	}
	w := newBlockWriter(ctx, s.f)
	w.off = s.off
	n, err := io.Copy(w, tr)
	if err == nil {
		err = w.close()
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return data{}, refuse("the archive ends inside the file %q", h.Name)
	}
	if err != nil {
		return data{}, fmt.Errorf("expanding the sparse file %q: %w", h.Name, err)
	}
	d := data{from: s.f, off: s.off, size: n}
	s.off = (s.off + n + blockSize - 1) &^ (blockSize - 1)
	return d, nil
}

func (s *spool) close() error {
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}
