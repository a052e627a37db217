package link

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Kind is what a stream carries.
type Kind string

const (
	Task   Kind = "task"   // ttrpc; the host opens it, one at a time
	Input  Kind = "input"  // bytes from the host to a process; the guest opens it
	Output Kind = "output" // bytes from a process to the host; the guest opens it
	Files  Kind = "files"  // one request of package rootfs; the host opens it
)

// Header is the first line of a stream.
type Header struct {
	Kind Kind
	// Name is the name that a task request gave to the stream (its stdin,
	// stdout or stderr field); for Files a container's id; empty for Task.
	Name string
}

// MaxHeader bounds a header line in bytes, its end included.
const MaxHeader = 4096

// WriteHeader writes h to w in one write.
func WriteHeader(w io.Writer, h Header) error {
	line := string(h.Kind) + " " + h.Name + "\n"
	if _, err := parseHeader(strings.TrimSuffix(line, "\n")); err != nil {
		return err
	}
	if len(line) > MaxHeader {
		return fmt.Errorf("stream name of %d bytes is longer than a header can hold", len(h.Name))
	}
	_, err := io.WriteString(w, line)
	return err
}

// ReadHeader reads the header line from r and not a byte more.
func ReadHeader(r io.Reader) (Header, error) {
	line := make([]byte, 0, 64)
	var b [1]byte
	for len(line) < MaxHeader {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return Header{}, fmt.Errorf("reading a stream's header: %w", err)
		}
		if b[0] == '\n' {
			return parseHeader(string(line))
		}
		line = append(line, b[0])
	}
	return Header{}, fmt.Errorf("reading a stream's header: no end within %d bytes", MaxHeader)
}

// parseHeader parses a header line without its end.
func parseHeader(line string) (Header, error) {
	kind, name, ok := strings.Cut(line, " ")
	h := Header{Kind: Kind(kind), Name: name}
	switch {
	case !ok:
		return Header{}, fmt.Errorf("stream header %.40q has no space", line)
	case strings.ContainsFunc(name, isControl):
		return Header{}, fmt.Errorf("stream name %.40q has control characters", name)
	case h.Kind == Task && name != "":
		return Header{}, fmt.Errorf("stream header %.40q names a task stream", line)
	case h.Kind != Task && name == "":
		return Header{}, fmt.Errorf("stream header %.40q names no stream", line)
	case !slices.Contains([]Kind{Task, Input, Output, Files}, h.Kind):
		return Header{}, fmt.Errorf("stream header %.40q has an unknown kind", line)
	}
	return h, nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }
