package template

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// block is the unit in which zeros are left out; chunk is read at once. Bytes.
const (
	block = 4096
	chunk = 256 * block
)

// copySparse writes what of src is not zero to dst, which must be empty, and
// gives both the same size. It returns the digest of the contents, which is the
// same whatever holes a file has: that of the size, then of every block that is
// not zero, after its number. With dst nil it computes the digest alone.
func copySparse(ctx context.Context, dst, src *os.File) (digest.Digest, error) {
	st, err := src.Stat()
	if err != nil {
		return "", err
	}
	if dst != nil {
		if err := dst.Truncate(st.Size()); err != nil {
			return "", err
		}
	}
	c := copier{dst: dst, hash: sha256.New()}
	c.number(st.Size())
	buf := make([]byte, chunk)
	for at := int64(0); at < st.Size(); {
		start, end, err := nextData(src, at, st.Size())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		for at = start; at < end; {
			if err := ctx.Err(); err != nil {
				return "", err
			}
			n, err := src.ReadAt(buf[:min(chunk, end-at)], at)
			if n == 0 && err != nil {
				return "", err
			}
			if err := c.blocks(buf[:n], at); err != nil {
				return "", err
			}
			at += int64(n)
		}
	}
	return digest.NewDigest(digest.SHA256, c.hash), nil
}

// nextData finds the next piece of a file that may not be zero, in whole blocks
// but for the file's end. It returns io.EOF where only holes follow.
func nextData(f *os.File, at, size int64) (start, end int64, err error) {
	fd := int(f.Fd())
	start, err = unix.Seek(fd, at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return 0, 0, io.EOF
	}
	if err != nil {
		return 0, 0, &os.PathError{Op: "seek", Path: f.Name(), Err: err}
	}
	if end, err = unix.Seek(fd, start, unix.SEEK_HOLE); err != nil {
		return 0, 0, &os.PathError{Op: "seek", Path: f.Name(), Err: err}
	}
	return max(at, start/block*block), min(size, (end+block-1)/block*block), nil
}

// copier takes a file block by block.
type copier struct {
	dst  *os.File // nil: none
	hash hash.Hash
}

var zeros [block]byte

// blocks takes data, which is at an offset that is a multiple of a block.
func (c *copier) blocks(data []byte, at int64) error {
	begin := 0 // of what is not yet written
	flush := func(end int) error {
		if c.dst == nil || begin == end {
			return nil
		}
		_, err := c.dst.WriteAt(data[begin:end], at+int64(begin))
		return err
	}
	for i := 0; i < len(data); i += block {
		b := data[i:min(i+block, len(data))]
		if bytes.Equal(b, zeros[:len(b)]) {
			if err := flush(i); err != nil {
				return err
			}
			begin = i + len(b)
			continue
		}
		c.number((at + int64(i)) / block)
		c.hash.Write(b)
	}
	return flush(len(data))
}

func (c *copier) number(n int64) {
	c.hash.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}
