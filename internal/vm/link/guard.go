package link

import (
	"encoding/binary"
	"errors"
	"io"
)

// A frame of yamux: a byte of version, one of type, two of flags, four of the
// stream's id, four of length. Only data frames have something behind them.
const (
	frameHeader = 12
	frameData   = 0
	framePing   = 2
)

// errPing ends the session with a guest that sends a ping. There are none in
// this protocol, and yamux keeps each that it cannot answer at once: a guest
// that sent them without reading the answers would fill the host's memory.
var errPing = errors.New("the guest sent a ping, which this protocol has none of")

// guard is the host's connection to a guest, read frame by frame.
type guard struct {
	io.ReadWriteCloser

	header [frameHeader]byte
	have   int    // bytes of header
	skip   uint32 // bytes of data to come
}

func (g *guard) Read(b []byte) (int, error) {
	n, err := g.ReadWriteCloser.Read(b)
	if g.look(b[:n]) != nil {
		return 0, errPing
	}
	return n, err
}

// look follows the frames.
func (g *guard) look(b []byte) error {
	for len(b) > 0 {
		if g.skip > 0 {
			n := min(uint64(g.skip), uint64(len(b)))
			g.skip -= uint32(n)
			b = b[n:]
			continue
		}
		n := copy(g.header[g.have:], b)
		g.have += n
		b = b[n:]
		if g.have < frameHeader {
			return nil
		}
		g.have = 0
		switch g.header[1] {
		case frameData:
			g.skip = binary.BigEndian.Uint32(g.header[8:])
		case framePing:
			return errPing
		}
	}
	return nil
}
