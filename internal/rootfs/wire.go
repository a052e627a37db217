package rootfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Version is the schema version of the protocol. A client sends one Request, a
// JSON line. After OpUnpack a stream of the archive follows it. The server
// answers with a JSON line, reply; where that has no error and the operation
// has an answer of bytes, a stream follows it, and after the stream another
// reply, which says whether it is whole. A client that closes before that has
// gone, and ends the operation.
//
// A stream is a sequence of frames: four bytes, big-endian, and what they
// announce. The highest bit tells a run of zeros, of which nothing follows, from
// data; the others are its length. A length of zero ends the stream.
const Version = 1

const (
	maxLine  = 256 << 10 // bytes of a request or reply
	maxText  = 4 << 10   // bytes of an error's text, and of a name: they end before users' eyes
	maxFrame = 64 << 10  // bytes of data in a frame
	zeroRun  = 1 << 31
	maxRun   = 1 << 30 // zeros in a frame
	tellRun  = 1 << 26 // zeros after which a writer tells of them, so that the other end sees it work
)

// Op is what a request asks for.
type Op string

const (
	OpStat    Op = "stat"    // -> Stat
	OpPack    Op = "pack"    // -> Stat, tar
	OpUnpack  Op = "unpack"  // tar ->
	OpExport  Op = "export"  // -> tar of the root file system alone
	OpChanges Op = "changes" // -> Change values, one JSON line each
	OpLayer   Op = "layer"   // -> tar of what was changed, in the form of an OCI image layer
)

// Request is the first line of a connection.
type Request struct {
	Version int `json:"version"`
	Op      Op  `json:"op"`
	// Path is that of a file in the container (OpStat, OpPack) or of an existing
	// directory (OpUnpack).
	Path string `json:"path,omitempty"`
	// NoOverwriteDirNonDir makes OpUnpack refuse to replace a directory by
	// something else, or the other way round.
	NoOverwriteDirNonDir bool `json:"noOverwriteDirNonDir,omitempty"`
	// Owner, if not "", is a user ("name", "uid", "name:group"...) of the
	// container whom all that OpUnpack makes belongs to, whatever the archive
	// says.
	Owner string `json:"owner,omitempty"`
	// Ignore lists absolute paths that OpChanges and OpLayer leave out if the
	// layers below do not have them and there is nothing in them: what was made
	// to mount something on.
	Ignore []string `json:"ignore,omitempty"`
}

// reply is the server's line. Code is the error's kind, a gRPC status code.
type reply struct {
	Error string `json:"error,omitempty"`
	Code  uint32 `json:"code,omitempty"`
	Stat  *Stat  `json:"stat,omitempty"`
}

func replyOf(err error) reply {
	if err == nil {
		return reply{}
	}
	s, _ := status.FromError(errgrpc.ToGRPC(err))
	return reply{Error: shortened(s.Message()), Code: uint32(s.Code())}
}

// err is the error that a reply tells of.
func (r reply) err() error {
	if r.Error == "" {
		return nil
	}
	return errgrpc.ToNative(status.Error(codes.Code(r.Code), shortened(r.Error)))
}

func shortened(text string) string { return text[:min(len(text), maxText)] }

// described checks the description that has to come with a reply.
func (r reply) described(name string) error {
	switch st := r.Stat; {
	case st == nil:
		return fmt.Errorf("the answer has no description of %s: %w", name, errdefs.ErrUnknown)
	case len(st.Name) > maxText || len(st.LinkTarget) > maxText:
		return fmt.Errorf("the answer's description of %s has names of more than %d bytes: %w", name, maxText, errdefs.ErrUnknown)
	}
	return nil
}

func writeLine(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(line) >= maxLine {
		return fmt.Errorf("the message has more than %d bytes: %w", maxLine, errdefs.ErrInvalidArgument)
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// readLine reads a line of JSON into v.
func readLine(r *bufio.Reader, v any) error {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return fmt.Errorf("a line has more than %d bytes: %w", maxLine, errdefs.ErrInvalidArgument)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return noEOF(err)
		}
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("a line is not what it should be: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// frameWriter writes a stream. Zeros, of which a sparse file has gigabytes, cost
// next to nothing.
type frameWriter struct {
	w   *bufio.Writer
	run uint32 // zeros not yet announced
}

func newFrameWriter(w io.Writer) *frameWriter {
	return &frameWriter{w: bufio.NewWriterSize(w, maxFrame+4)}
}

// zeroBlock is what a run of zeros is recognised by.
var zeroBlock [4096]byte

func (f *frameWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := min(len(p)-done, maxFrame)
		if err := f.piece(p[done : done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

func (f *frameWriter) piece(p []byte) error {
	if len(p) >= len(zeroBlock) && allZero(p) {
		if f.run += uint32(len(p)); f.run < tellRun {
			return nil
		}
		if err := f.flushRun(); err != nil {
			return err
		}
		return f.w.Flush()
	}
	if err := f.flushRun(); err != nil {
		return err
	}
	if err := f.head(uint32(len(p))); err != nil {
		return err
	}
	_, err := f.w.Write(p)
	return err
}

func allZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(zeroBlock))
		if !bytes.Equal(p[:n], zeroBlock[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

func (f *frameWriter) flushRun() error {
	if f.run == 0 {
		return nil
	}
	n := f.run
	f.run = 0
	return f.head(zeroRun | n)
}

func (f *frameWriter) head(n uint32) error {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	_, err := f.w.Write(b[:])
	return err
}

// end ends the stream.
func (f *frameWriter) end() error {
	if err := f.flushRun(); err != nil {
		return err
	}
	if err := f.head(0); err != nil {
		return err
	}
	return f.w.Flush()
}

// frameReader reads a stream. Its end is io.EOF; one that breaks off is
// io.ErrUnexpectedEOF.
type frameReader struct {
	r     *bufio.Reader
	left  uint32 // of the present frame
	zeros bool   // its kind
	ended bool
}

func (f *frameReader) Read(p []byte) (int, error) {
	if f.ended {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n := int(min(uint32(min(len(p), maxRun)), f.left))
	if f.zeros {
		clear(p[:n])
		f.left -= uint32(n)
		return n, nil
	}
	n, err := f.r.Read(p[:n])
	f.left -= uint32(n)
	return n, noEOF(err)
}

// next reads the head of a frame that is not empty, or the end.
func (f *frameReader) next() error {
	var b [4]byte
	if _, err := io.ReadFull(f.r, b[:]); err != nil {
		return noEOF(err)
	}
	n := binary.BigEndian.Uint32(b[:])
	f.zeros, f.left = n&zeroRun != 0, n&^zeroRun
	switch {
	case n == 0:
		f.ended = true
		return io.EOF
	case f.left == 0, f.zeros && f.left > maxRun, !f.zeros && f.left > maxFrame:
		f.left = 0
		return fmt.Errorf("a stream has a frame of an impossible length: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}
