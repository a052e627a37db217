// Package engineapi holds the plain requests and answers between the engine
// and whoever serves it to clients. It is a leaf, so that the engine need not
// know HTTP and the HTTP side need not link the engine's stores.
package engineapi

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Filters are a request's filters: key to set of values, as docker's clients
// send them ({"label":{"a=b":true}} or, from old ones, {"label":["a=b"]}).
type Filters map[string]map[string]bool

// Progress is called in order, from one goroutine at a time.
type Progress func(jsonstream.Message)

// CreateRequest is the body and query of POST /containers/create, decoded.
type CreateRequest struct {
	Name       string
	Platform   *ocispec.Platform
	Config     *container.Config
	HostConfig *container.HostConfig
	Networking *network.NetworkingConfig
}

// AttachRequest says what of a container a client wants to be joined to.
type AttachRequest struct {
	Stdin, Stdout, Stderr bool
	Logs, Stream          bool
	Raw                   bool // output without docker's frames, stdout and stderr in one
	DetachKeys            string
	// Open answers the client and hands over its connection; the engine calls
	// it once it knows that the request is good, and closes what it returns.
	// tty says that the stream is raw, not multiplexed.
	Open func(tty bool) (Conn, error)
}

// ExecStart says how a process that was prepared in a container is started.
type ExecStart struct {
	Detach bool
	// TTY is how the client takes the output: raw, else in docker's frames.
	TTY         bool
	ConsoleSize *[2]uint // height, width; nil: as it was prepared
	// Open is as in AttachRequest; Detach never calls it.
	Open func(tty bool) (Conn, error)
}

// Conn is a hijacked connection: bytes that the client sent with its request
// are read first.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// StatsRequest says how often a client wants to know what a container uses: all
// the time, or once; then OneShot spares it the wait for a second sample, which
// says how busy processors are.
type StatsRequest struct {
	Stream, OneShot bool
}

// LogsRequest selects the lines of a container's log.
type LogsRequest struct {
	Stdout, Stderr, Follow bool
	Since, Until           time.Time // zero: no bound
	Tail                   int       // -1: all
}

// LogLine is one line of output, or a part of a long one, as it was written
// (its newline included).
type LogLine struct {
	Stream string // "stdout" or "stderr"
	Time   time.Time
	Data   []byte
}

// Logs is a container's log being read. Next returns io.EOF at the end, for
// Follow when the container has ended and all was read.
type Logs interface {
	TTY() bool
	Next(ctx context.Context) (LogLine, error)
	io.Closer
}

// Machine is a running container's virtual machine. Its size is the machine's
// own: what the container in it may use is in its HostConfig.
type Machine struct {
	Accelerator string // "kvm" or "tcg"
	Kernel      string // the release
	Memory      int64  // bytes
	CPUs        int
	Start       string // "booted", "restored" (from its template) or "pooled" (it had been waiting)
	Reason      string // why it was booted, if it was not to be
	Template    string // digest of the one that it goes on from, or should have; "": none
}
