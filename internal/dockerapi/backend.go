package dockerapi

import (
	"context"
	"io"
	"time"

	"bothy/internal/engineapi"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The requests and answers are the engine's; see package engineapi.
type (
	Filters        = engineapi.Filters
	Progress       = engineapi.Progress
	CreateRequest  = engineapi.CreateRequest
	AttachRequest  = engineapi.AttachRequest
	ExecStart      = engineapi.ExecStart
	Conn           = engineapi.Conn
	StatsRequest   = engineapi.StatsRequest
	ExtractRequest = engineapi.ExtractRequest
	CommitRequest  = engineapi.CommitRequest
	LogsRequest    = engineapi.LogsRequest
	LogLine        = engineapi.LogLine
	Logs           = engineapi.Logs
)

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

// Networks is the engine's network side. It is asked for separately: an engine
// without it answers "not served yet".
type Networks interface {
	ListNetworks(ctx context.Context, filters Filters) ([]network.Inspect, error)
	// InspectNetwork takes a full ID, a name, or a unique prefix of an ID.
	InspectNetwork(ctx context.Context, ref string) (*network.Inspect, error)
}

// Machines tells of containers' virtual machines. It is asked for separately,
// as Networks is.
type Machines interface {
	// ContainerMachine gives nil for a container that has none now.
	ContainerMachine(ctx context.Context, ref string) (*engineapi.Machine, error)
}

// Disk tells what takes how much disk. It is asked for separately, as Networks is.
type Disk interface {
	DiskUsage(ctx context.Context, req engineapi.DiskUsageRequest) (*engineapi.DiskUsage, error)
	// PruneImages removes images that no container uses.
	PruneImages(ctx context.Context, filters Filters) (*image.PruneReport, error)
	// PruneBuildCache removes what is made again when it is needed.
	PruneBuildCache(ctx context.Context, req engineapi.BuildCachePrune) (*build.CachePruneReport, error)
}

// Images is the engine's image side. A ref is what a user typed: a name, a
// name with tag or digest, an ID or a unique prefix of one.
type Images interface {
	// Login checks what a client would show a registry. server is the
	// registry's host, or a URL as docker's configuration has it; "" is Docker
	// Hub.
	Login(ctx context.Context, server string, auth *registry.AuthConfig) error
	PullImage(ctx context.Context, ref string, platform *ocispec.Platform, auth *registry.AuthConfig, out Progress) error
	// ImportImage makes a one-layer image of a (compressed) root file system
	// tar and returns its ID ("sha256:..."), which is also its last message's
	// status. Changes are Dockerfile lines.
	ImportImage(ctx context.Context, rootfs io.Reader, ref, message string, changes []string, platform *ocispec.Platform, out Progress) (string, error)
	// LoadImages reads a docker or OCI archive, compressed or not.
	LoadImages(ctx context.Context, archive io.Reader, platform *ocispec.Platform, out Progress) error
	ListImages(ctx context.Context, all bool, filters Filters) ([]image.Summary, error)
	InspectImage(ctx context.Context, ref string) (*image.InspectResponse, error)
	TagImage(ctx context.Context, ref, repo, tag string) error
	RemoveImage(ctx context.Context, ref string, force, noPrune bool) ([]image.DeleteResponse, error)
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
	PauseContainer(ctx context.Context, ref string) error
	UnpauseContainer(ctx context.Context, ref string) error
	RemoveContainer(ctx context.Context, ref string, force, volumes bool) error
	// PruneContainers removes those that do not run.
	PruneContainers(ctx context.Context, filters Filters) (*container.PruneReport, error)
	RenameContainer(ctx context.Context, ref, name string) error
	// UpdateContainer changes limits; those that are zero stay, and a PidsLimit
	// of 0 or less is none.
	UpdateContainer(ctx context.Context, ref string, change container.UpdateConfig) (container.UpdateResponse, error)
	ResizeContainer(ctx context.Context, ref string, height, width uint16) error
	AttachContainer(ctx context.Context, ref string, req AttachRequest) error
	// WaitContainer registers the wait before it returns; the channel gets
	// exactly one answer and is then closed (closed without one if ctx ends).
	WaitContainer(ctx context.Context, ref string, condition container.WaitCondition) (<-chan container.WaitResponse, error)
	ContainerLogs(ctx context.Context, ref string, req LogsRequest) (Logs, error)
	ListContainers(ctx context.Context, all bool, limit int, size bool, filters Filters) ([]container.Summary, error)
	InspectContainer(ctx context.Context, ref string, size bool) (*container.InspectResponse, error)
}

// Execs are further processes in containers that run.
type Execs interface {
	// CreateExec prepares a process and gives its ID.
	CreateExec(ctx context.Context, ref string, req container.ExecCreateRequest) (string, error)
	StartExec(ctx context.Context, id string, req ExecStart) error
	ResizeExec(ctx context.Context, id string, height, width uint16) error
	InspectExec(ctx context.Context, id string) (*container.ExecInspectResponse, error)
}

// Usage is what containers do now, and what they use.
type Usage interface {
	// ContainerTop lists processes in the columns that ps's options ask for;
	// "": docker's own.
	ContainerTop(ctx context.Context, ref, psOptions string) (*container.TopResponse, error)
	// ContainerStats hands samples to send until there is no more to be said,
	// send fails or ctx ends.
	ContainerStats(ctx context.Context, ref string, req StatsRequest, send func(*container.StatsResponse) error) error
}

// Files reads and writes containers' files. What is read ends with io.EOF only if
// it is whole. A path is the client's.
type Files interface {
	StatPath(ctx context.Context, ref, path string) (*container.PathStat, error)
	// ArchivePath gives a tar, of which the names begin with the path's last.
	ArchivePath(ctx context.Context, ref, path string) (io.ReadCloser, *container.PathStat, error)
	// ExtractArchive unpacks a tar, compressed or not, in an existing directory.
	ExtractArchive(ctx context.Context, ref, path string, req ExtractRequest, archive io.Reader) error
	// ExportContainer gives a tar of the root file system alone.
	ExportContainer(ctx context.Context, ref string) (io.ReadCloser, error)
	ContainerChanges(ctx context.Context, ref string) ([]container.FilesystemChange, error)
	// CommitContainer returns the new image's ID.
	CommitContainer(ctx context.Context, req CommitRequest) (string, error)
}
