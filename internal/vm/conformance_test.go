package vm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/opencontainers/runtime-spec/specs-go"

	"bothy/internal/executortest"
	"bothy/internal/shimapi"
	"bothy/internal/vm"
)

// TestConformance runs the executor's suite in one machine, which holds many
// containers one after the other: their writable sides are in its memory.
func TestConformance(t *testing.T) {
	p := findParts(t)
	f := &fixture{streams: &pipeStreams{open: map[string]any{}}, dir: t.TempDir()}
	c := p.config(t, f.streams)
	c.Machine.Memory = 512 << 20
	f.layer = c.Rootfs[0]
	f.machine = boot(t, c)
	executortest.Run(t, f)
}

type fixture struct {
	machine *vm.Machine
	layer   *types.Mount
	streams *pipeStreams
	dir     string
}

func (f *fixture) New(*testing.T) executortest.Fixture { return f }

func (f *fixture) Service() taskAPI.TTRPCTaskService { return f.machine.Task() }

func (f *fixture) Prepare(t *testing.T, id string, spec *specs.Spec) *taskAPI.CreateTaskRequest {
	t.Helper()
	bundle := filepath.Join(f.dir, id)
	if err := os.Mkdir(bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	if spec.Linux.CgroupsPath == "" {
		spec.Linux.CgroupsPath = "/bothy/" + id
	}
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, shimapi.SpecFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return &taskAPI.CreateTaskRequest{ID: id, Bundle: bundle, Rootfs: []*types.Mount{
		f.layer,
		{Type: "tmpfs", Source: "tmpfs", Target: "rw"},
		{Type: "overlay", Source: "overlay", Target: "rootfs", Options: []string{"lowerdir=" + f.layer.Target, "upperdir=rw/upper", "workdir=rw/work"}},
	}}
}

func (f *fixture) Stdio(_ *testing.T, terminal bool) *executortest.Stdio {
	st := &executortest.Stdio{}
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	st.Stdin, st.In = f.streams.add(inR), inW
	st.Stdout, st.Out = f.streams.add(outW), outR
	if !terminal {
		errR, errW := io.Pipe()
		st.Stderr, st.Err = f.streams.add(errW), errR
	}
	return st
}

// Leftovers is empty: a guest cannot be looked into.
func (f *fixture) Leftovers(*testing.T, string) []string { return nil }

// pipeStreams are pipes by name.
type pipeStreams struct {
	mu   sync.Mutex // guards open
	open map[string]any
}

func (s *pipeStreams) add(end any) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := fmt.Sprint("stream-", len(s.open))
	s.open[name] = end
	return name
}

func (s *pipeStreams) OpenInput(_ context.Context, name string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[name].(io.ReadCloser), nil
}

func (s *pipeStreams) OpenOutput(_ context.Context, name string) (io.WriteCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[name].(io.WriteCloser), nil
}
