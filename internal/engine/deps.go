package engine

import (
	"context"
	"io"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/go-digest"

	"bothy/internal/image"
	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
)

// task is a connection to a container's shim.
type task interface {
	taskAPI.TTRPCTaskService
	// Attach joins the caller to the container's streams.
	Attach(ctx context.Context, req shimapi.AttachRequest) (conn shimclient.Conn, tty bool, err error)
	// Done is closed when the shim has gone.
	Done() <-chan struct{}
	// Pid is the shim's own process id, 0 if it is not known.
	Pid() int
	// Close ends the connection, not the shim.
	Close() error
}

// shims starts, finds and buries shims; package shimclient is the real one.
type shims interface {
	Start(ctx context.Context, opts shimclient.Options) (task, error)
	Dial(ctx context.Context, bundle string) (task, error)
	Cleanup(ctx context.Context, opts shimclient.Options) error
	// Stir says that a process is about to be started on this host.
	Stir()
}

// programShims runs the shim program.
type programShims struct{}

// programTask gives a shimclient.Client the methods of task.
type programTask struct {
	taskAPI.TTRPCTaskService
	client *shimclient.Client
}

func (programShims) Start(ctx context.Context, opts shimclient.Options) (task, error) {
	c, err := shimclient.Start(ctx, opts)
	if err != nil {
		return nil, err
	}
	return programTask{c.Task, c}, nil
}

func (programShims) Dial(ctx context.Context, bundle string) (task, error) {
	c, err := shimclient.Dial(ctx, bundle)
	if err != nil {
		return nil, err
	}
	return programTask{c.Task, c}, nil
}

func (programShims) Cleanup(ctx context.Context, opts shimclient.Options) error {
	return shimclient.Cleanup(ctx, opts)
}

func (programShims) Stir() { shimclient.Stir() }

func (t programTask) Attach(ctx context.Context, req shimapi.AttachRequest) (shimclient.Conn, bool, error) {
	return t.client.Attach(ctx, req)
}
func (t programTask) Done() <-chan struct{} { return t.client.Done() }
func (t programTask) Pid() int              { return t.client.Pid }
func (t programTask) Close() error          { return t.client.Close() }

// imageStore is what the engine needs of package image's Store.
type imageStore interface {
	Resolve(ctx context.Context, ref string) (*image.Image, error)
	List(ctx context.Context) ([]image.Image, error)
	// Hold keeps an image until release is called.
	Hold(id digest.Digest) (release func())
	// Collect deletes what no image and no container needs.
	Collect(ctx context.Context) error
	Login(ctx context.Context, server string, auth *image.Auth) error
	Pull(ctx context.Context, ref string, opts image.PullOptions) (*image.Image, error)
	Load(ctx context.Context, archive io.Reader, opts image.LoadOptions) ([]image.Loaded, error)
	Import(ctx context.Context, rootfs io.Reader, opts image.ImportOptions) (*image.Image, error)
	Commit(ctx context.Context, layer io.Reader, opts image.CommitOptions) (*image.Image, error)
	Tag(ctx context.Context, source, target string) error
	Remove(ctx context.Context, ref string, opts image.RemoveOptions) ([]image.Removed, error)
}
