package image

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxDictionary bounds in bytes what unpacking xz keeps in memory, as zstd's
// window is: xz -9 makes 64 MiB, a block's header can ask for 4 GiB.
const maxDictionary = 128 << 20

var errXZ = errors.New("it is no xz stream")

// xzGuard passes an xz file through and stops before a block whose dictionary
// is larger than maxDictionary. It checks no more than it needs to find the
// blocks, for what it passes is checked by the decoder. The format is that of
// https://tukaani.org/xz/xz-file-format.txt, LZMA2's chunks as the kernel's
// lib/xz/xz_dec_lzma2.c reads them.
type xzGuard struct {
	r     *bufio.Reader
	ready []byte                 // looked at and to be passed on
	pass  int64                  // bytes that follow ready and need no look
	next  func(g *xzGuard) error // looks at what comes then
	check int64                  // size of a block's check sum
	size  int64                  // of the block's chunks, or of the index, so far
	left  uint64                 // numbers left in the index
}

func newXZGuard(r *bufio.Reader) *xzGuard { return &xzGuard{r: r, next: (*xzGuard).header} }

func (g *xzGuard) Read(p []byte) (int, error) {
	for len(g.ready) == 0 && g.pass == 0 {
		if err := g.next(g); err != nil {
			return 0, err
		}
	}
	if len(g.ready) > 0 {
		n := copy(p, g.ready)
		g.ready = g.ready[n:]
		return n, nil
	}
	n, err := g.r.Read(p[:min(int64(len(p)), g.pass)])
	g.pass -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// take makes the next n bytes ready and returns them all.
func (g *xzGuard) take(n int) ([]byte, error) {
	from := len(g.ready)
	g.ready = append(g.ready, make([]byte, n)...)
	if _, err := io.ReadFull(g.r, g.ready[from:]); err != nil {
		if err == io.EOF && from > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	g.size += int64(n)
	return g.ready[from:], nil
}

// header looks at the header of a stream, or at the padding between streams.
func (g *xzGuard) header() error {
	b, err := g.take(4)
	if err != nil || binary.LittleEndian.Uint32(b) == 0 {
		return err
	}
	if b, err = g.take(8); err != nil {
		return err
	}
	kind := b[3] & 15
	if g.check = 0; kind > 0 {
		g.check = 4 << ((kind - 1) / 3)
	}
	g.next = (*xzGuard).block
	return nil
}

// block looks at the header of a block, or at the beginning of the index.
func (g *xzGuard) block() error {
	g.size = 0
	b, err := g.take(1)
	if err != nil {
		return err
	}
	if b[0] == 0 {
		if g.left, err = g.number(); err == nil && g.left > 1<<60 {
			err = errXZ
		}
		g.left *= 2
		g.next = (*xzGuard).index
		return err
	}
	if b, err = g.take((int(b[0])+1)*4 - 1); err != nil {
		return err
	}
	if err := checkFilters(b); err != nil {
		return err
	}
	g.size = 0
	g.next = (*xzGuard).chunk
	return nil
}

// checkFilters reads a block's header, without its size, and its LZMA2 filter.
func checkFilters(b []byte) error {
	flags := b[0]
	b = b[1 : len(b)-4]
	number := func() (v uint64) {
		n := 0
		if v, n = binary.Uvarint(b); n <= 0 {
			b = nil
			return 0
		}
		b = b[n:]
		return v
	}
	for range flags>>6&1 + flags>>7 { // compressed and uncompressed size
		number()
	}
	const lzma2 = 0x21
	if flags&3 != 0 || number() != lzma2 || number() != 1 || len(b) == 0 || b[0] > 40 {
		return errors.New("its filters are not supported")
	}
	if size := (2 | uint64(b[0]&1)) << (b[0]/2 + 11); size > maxDictionary {
		return fmt.Errorf("unpacking it takes a dictionary of %d MiB, more than the %d that are allowed", size>>20, maxDictionary>>20)
	}
	return nil
}

// chunk looks at the header of a chunk, or at the end of a block.
func (g *xzGuard) chunk() error {
	b, err := g.take(1)
	if err != nil {
		return err
	}
	switch c := b[0]; {
	case c == 0:
		g.pass = -g.size&3 + g.check
		g.next = (*xzGuard).block
		return nil
	case c < 0x80:
		if c > 2 {
			return errXZ
		}
		b, err = g.take(2)
	case c < 0xc0:
		b, err = g.take(4)
	default:
		b, err = g.take(5)
	}
	if err != nil {
		return err
	}
	if len(b) > 2 {
		b = b[2:4]
	}
	g.pass = int64(binary.BigEndian.Uint16(b)) + 1
	g.size += g.pass
	return nil
}

// index looks at one number of the index, or at its end.
func (g *xzGuard) index() error {
	if g.left > 0 {
		g.left--
		_, err := g.number()
		return err
	}
	const sum, footer = 4, 12
	g.pass = -g.size&3 + sum + footer
	g.next = (*xzGuard).header
	return nil
}

func (g *xzGuard) number() (v uint64, err error) {
	for shift := 0; shift < 63; shift += 7 {
		b, err := g.take(1)
		if err != nil {
			return 0, err
		}
		if v |= uint64(b[0]&0x7f) << shift; b[0] < 0x80 {
			return v, nil
		}
	}
	return 0, errXZ
}
