package kernel

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

const (
	// lz4Magic begins LZ4's legacy format, the one that kernels are packed in:
	// blocks, each behind its length, that have nothing to do with each other.
	lz4Magic = 0x184c2102
	// lz4Block is the size of a block unpacked; only the last is smaller.
	lz4Block = 8 << 20
)

var errLZ4 = errors.New("its LZ4 data is damaged")

// lz4Reader unpacks LZ4's legacy format (lz4_Frame_format.md and
// lz4_Block_format.md of the LZ4 project), one block at a time.
type lz4Reader struct {
	r      *bufio.Reader
	packed []byte // of the block read last
	block  []byte // the same unpacked
	rest   []byte // what of block was not read yet
}

func newLZ4Reader(r io.Reader) (*lz4Reader, error) {
	l := &lz4Reader{r: bufio.NewReader(r)}
	magic, err := l.word()
	if err != nil || magic != lz4Magic {
		return nil, errLZ4
	}
	return l, nil
}

func (l *lz4Reader) Read(p []byte) (int, error) {
	for len(l.rest) == 0 {
		if err := l.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// next unpacks the next block.
func (l *lz4Reader) next() error {
	length, err := l.word()
	if err != nil {
		return err
	}
	// What cannot be made smaller grows by a 255th.
	if length > lz4Block+lz4Block/255+16 {
		return errLZ4
	}
	if l.packed == nil {
		l.packed, l.block = make([]byte, lz4Block+lz4Block/255+16), make([]byte, 0, lz4Block)
	}
	packed := l.packed[:length]
	if _, err := io.ReadFull(l.r, packed); err != nil {
		return errLZ4
	}
	l.block, err = lz4Unpack(l.block[:0], packed)
	l.rest = l.block
	return err
}

// word reads a number; io.EOF says that there is nothing more at all.
func (l *lz4Reader) word() (uint32, error) {
	var b [4]byte
	if _, err := io.ReadFull(l.r, b[:]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b[:]), nil
}

// lz4Unpack appends what the block src holds to dst, never beyond dst's
// capacity. A block is a row of sequences: a token with two lengths, literal
// bytes, and how far back to copy from; the last one ends with its literals.
func lz4Unpack(dst, src []byte) ([]byte, error) {
	const leastMatch = 4
	for len(src) > 0 {
		token := src[0]
		literals, rest, ok := lz4Length(int(token>>4), src[1:])
		if !ok || literals > len(rest) || literals > cap(dst)-len(dst) {
			return dst, errLZ4
		}
		dst, src = append(dst, rest[:literals]...), rest[literals:]
		if len(src) == 0 {
			return dst, nil
		}
		if len(src) < 2 {
			return dst, errLZ4
		}
		back := int(binary.LittleEndian.Uint16(src))
		match, rest, ok := lz4Length(int(token&15), src[2:])
		match += leastMatch
		if !ok || back == 0 || back > len(dst) || match > cap(dst)-len(dst) {
			return dst, errLZ4
		}
		dst, src = lz4Copy(dst, back, match), rest
	}
	return dst, nil
}

// lz4Copy appends n bytes that begin back bytes before the end. They may reach
// beyond it, into what is just being appended: a pattern that repeats.
func lz4Copy(dst []byte, back, n int) []byte {
	for n > 0 {
		from := dst[len(dst)-back:]
		part := min(n, len(from))
		dst = append(dst, from[:part]...)
		n -= part
	}
	return dst
}

// lz4Length completes a length of which the token holds at most 15.
func lz4Length(n int, src []byte) (int, []byte, bool) {
	if n < 15 {
		return n, src, true
	}
	for i, b := range src {
		n += int(b)
		if b < 255 {
			return n, src[i+1:], true
		}
	}
	return 0, nil, false
}
