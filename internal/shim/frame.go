package shim

import "encoding/binary"

// Streams as docker's frames number them.
const (
	stdoutID = 1
	stderrID = 2
)

// frameHeader is the length in bytes of what precedes each piece of output
// that is not a terminal's: the stream, three zeros, the length (big endian).
const frameHeader = 8

// frame copies p, behind a header if the stream has an id.
func frame(id byte, p []byte) []byte {
	if id == 0 {
		return append(make([]byte, 0, len(p)), p...)
	}
	f := make([]byte, frameHeader, frameHeader+len(p))
	f[0] = id
	binary.BigEndian.PutUint32(f[4:], uint32(len(p)))
	return append(f, p...)
}
