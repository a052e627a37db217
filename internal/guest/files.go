package guest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/hashicorp/yamux"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"

	"bothy/internal/executor"
	"bothy/internal/rootfs"
	"bothy/internal/shimapi"
	"bothy/internal/vm/link"
)

// files serves containers' files to the host: those of the executor's
// containers, and those that MountFiles has mounted.
type files struct {
	service *executor.Service
	resolve func(*types.Mount) (*types.Mount, error)

	mu      sync.Mutex // guards mounted
	mounted map[string]*executor.Files
}

func newFiles(s *executor.Service, resolve func(*types.Mount) (*types.Mount, error)) *files {
	return &files{service: s, resolve: resolve, mounted: map[string]*executor.Files{}}
}

// serve serves one stream, which it closes.
func (f *files) serve(h link.Header, stream *yamux.Stream) {
	defer stream.Close()
	source, err := f.source(h.Name)
	if err != nil {
		rootfs.Refuse(stream, err)
		return
	}
	_ = rootfs.Serve(context.Background(), stream, stream, source)
}

// source finds a container's files.
func (f *files) source(id string) (rootfs.Source, error) {
	f.mu.Lock()
	mounted := f.mounted[id]
	f.mu.Unlock()
	if mounted != nil {
		return switchedOff{mounted}, nil
	}
	running, err := f.service.Files(id)
	if err != nil {
		return nil, err
	}
	return goesOn{running}, nil
}

// switchedOff are files in a machine that may be switched off after each request.
type switchedOff struct{ *executor.Files }

func (switchedOff) Flush() error { unix.Sync(); return nil }

// goesOn are files in a machine that flushes its disks at its end.
type goesOn struct{ *executor.Files }

func (goesOn) Flush() error { return nil }

// mount serves link.MountFilesMethod.
func (f *files) mount(_ context.Context, unmarshal func(any) error) (any, error) {
	var req taskAPI.CreateTaskRequest
	if err := unmarshal(&req); err != nil {
		return nil, err
	}
	if err := f.mountOne(&req); err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("mounting the files of %s: %w", req.ID, err))
	}
	return &emptypb.Empty{}, nil
}

func (f *files) mountOne(req *taskAPI.CreateTaskRequest) error {
	if !filepath.IsLocal(req.ID) || filepath.Base(req.ID) != req.ID || req.ID == "." {
		return fmt.Errorf("container id %q is no file name: %w", req.ID, errdefs.ErrInvalidArgument)
	}
	var o shimapi.FilesOptions
	if url := req.Options.GetTypeUrl(); url != shimapi.FilesOptionsURL {
		return fmt.Errorf("options of type %q instead of %s: %w", url, shimapi.FilesOptionsURL, errdefs.ErrInvalidArgument)
	}
	if err := json.Unmarshal(req.Options.Value, &o); err != nil {
		return fmt.Errorf("reading the options: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mounted[req.ID] != nil {
		return fmt.Errorf("they are mounted already: %w", errdefs.ErrAlreadyExists)
	}
	bundle := filepath.Join(bundlesDir, req.ID)
	if err := os.MkdirAll(bundle, 0o700); err != nil {
		return err
	}
	mounted, err := executor.MountFiles(executor.FileMounts{Bundle: bundle, Rootfs: req.Rootfs, Resolve: f.resolve, ReadOnly: o.ReadOnly})
	if err != nil {
		return err
	}
	f.mounted[req.ID] = mounted
	return nil
}
