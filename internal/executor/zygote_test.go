package executor_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"

	"bothy/internal/executor"
	"bothy/internal/executortest"
)

// TestConformanceOfZygotes runs the suite where each container has one to be
// made of, if it is of its shape.
func TestConformanceOfZygotes(t *testing.T) {
	needRoot(t)
	h := &zygoteHarness{program: waiterProgram(t)}
	executortest.Run(t, h)
	t.Logf("%d of %d containers were made of a zygote", h.taken.Load(), h.created.Load())
	if !t.Failed() && h.taken.Load() < 20 {
		t.Error("too few containers were made of a zygote")
	}
}

type zygoteHarness struct {
	program        string
	created, taken atomic.Int32
}

func (h *zygoteHarness) New(t *testing.T) executortest.Fixture {
	f := newFixtureWith(t, func(o *executor.Options) {
		o.Waiter = h.program
		o.Trace = func(phase string) {
			if phase == executor.PhaseMovedIn {
				h.taken.Add(1)
			}
		}
	})
	model := executortest.DefaultSpec()
	model.Linux.CgroupsPath = cgroupPath("model")
	if err := f.service.Learn(model); err != nil {
		t.Fatal(err)
	}
	f.client = &preparing{serve(t, f.service), f.service, h}
	return f
}

// waiterProgram builds the program that zygotes wait in.
func waiterProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "waiter")
	build := exec.Command("go", "build", "-ldflags", "-extldflags -static", "-o", path, "./testdata/waiter")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program to wait in: %v\n%s", err, out)
	}
	return path
}

// preparing makes a zygote before each container.
type preparing struct {
	taskapi.TTRPCTaskService
	service *executor.Service
	harness *zygoteHarness
}

func (p *preparing) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	p.harness.created.Add(1)
	if err := p.service.Prepare(""); err != nil {
		return nil, err
	}
	return p.TTRPCTaskService.Create(ctx, r)
}
