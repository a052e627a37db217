package dockerapi

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Filters are a request's filters: key to set of values, as docker's clients
// send them ({"label":{"a=b":true}} or, from old ones, {"label":["a=b"]}).
type Filters map[string]map[string]bool

// System answers for the engine as a whole.
type System interface {
	Info(ctx context.Context) (*system.Info, error)
	// Version gives the engine's own version and its components'; the API
	// versions are filled in by this package.
	Version(ctx context.Context) (*system.VersionResponse, error)
	// Subscribe gives past events since (zero: none) and then live ones until
	// ctx ends; a subscriber that falls too far behind has its channel closed.
	Subscribe(ctx context.Context, since, until time.Time, filters Filters) ([]events.Message, <-chan events.Message, error)
}

// Progress is called in order, from one goroutine at a time.
type Progress func(jsonstream.Message)

// Images is the engine's image side. A ref is what a user typed: a name, a
// name with tag or digest, an ID or a unique prefix of one.
type Images interface {
	PullImage(ctx context.Context, ref string, platform *ocispec.Platform, auth *registry.AuthConfig, out Progress) error
	// ImportImage makes a one-layer image of a (compressed) root file system
	// tar and returns its ID ("sha256:..."). Changes are Dockerfile lines.
	ImportImage(ctx context.Context, rootfs io.Reader, ref, message string, changes []string, platform *ocispec.Platform, out Progress) (string, error)
	// LoadImages reads a docker or OCI archive, compressed or not.
	LoadImages(ctx context.Context, archive io.Reader, platform *ocispec.Platform, out Progress) error
	ListImages(ctx context.Context, all bool, filters Filters) ([]image.Summary, error)
	InspectImage(ctx context.Context, ref string) (*image.InspectResponse, error)
	TagImage(ctx context.Context, ref, repo, tag string) error
	RemoveImage(ctx context.Context, ref string, force, noPrune bool) ([]image.DeleteResponse, error)
}

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
	DetachKeys            string
	// Open answers the client and hands over its connection; the engine calls
	// it once it knows that the request is good, and closes what it returns.
	// tty says that the stream is raw, not multiplexed.
	Open func(tty bool) (Conn, error)
}

// Conn is a hijacked connection: bytes that the client sent with its request
// are read first.
type Conn interface {
	net.Conn
	CloseWrite() error
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
	Close() error
}

// Containers is the engine's container side. A ref is a full ID, a name, or a
// unique prefix of an ID.
type Containers interface {
	CreateContainer(ctx context.Context, req CreateRequest) (container.CreateResponse, error)
	StartContainer(ctx context.Context, ref string) error
	// StopContainer sends signal ("" : the container's own), waits timeout
	// seconds (nil: the container's own, -1: for ever), then kills.
	StopContainer(ctx context.Context, ref, signal string, timeout *int) error
	RestartContainer(ctx context.Context, ref, signal string, timeout *int) error
	KillContainer(ctx context.Context, ref, signal string) error
	RemoveContainer(ctx context.Context, ref string, force, volumes bool) error
	RenameContainer(ctx context.Context, ref, name string) error
	ResizeContainer(ctx context.Context, ref string, height, width uint16) error
	AttachContainer(ctx context.Context, ref string, req AttachRequest) error
	// WaitContainer registers the wait before it returns; the channel gets
	// exactly one answer and is then closed (closed without one if ctx ends).
	WaitContainer(ctx context.Context, ref string, condition container.WaitCondition) (<-chan container.WaitResponse, error)
	ContainerLogs(ctx context.Context, ref string, req LogsRequest) (Logs, error)
	ListContainers(ctx context.Context, all bool, limit int, size bool, filters Filters) ([]container.Summary, error)
	InspectContainer(ctx context.Context, ref string, size bool) (*container.InspectResponse, error)
}
