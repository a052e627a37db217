package executor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/ttrpc"
	"github.com/opencontainers/runtime-spec/specs-go"

	"bothy/internal/executor"
	"bothy/internal/executortest"
)

func TestConformance(t *testing.T) {
	executortest.Run(t, &hostHarness{})
}

// needRoot skips what can't be done without root.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("needs busybox-static: ", err)
	}
}

// hostHarness runs the executor in this process and talks to it over ttrpc, as
// an engine does to a shim.
type hostHarness struct{}

func (*hostHarness) New(t *testing.T) executortest.Fixture {
	f := newFixture(t)
	f.client = serve(t, f.service)
	return f
}

// serve makes a connection to the service.
func serve(t *testing.T, s *executor.Service) taskapi.TTRPCTaskService {
	t.Helper()
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	taskapi.RegisterTTRPCTaskService(server, s)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), l) }()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(conn)
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
		if err := <-served; !errors.Is(err, ttrpc.ErrServerClosed) {
			t.Error(err)
		}
	})
	return taskapi.NewTTRPCTaskClient(client)
}

type fixture struct {
	service *executor.Service
	client  taskapi.TTRPCTaskService
	streams *streams
	dir     string
}

func newFixture(t testing.TB) *fixture {
	return newFixtureWith(t, func(*executor.Options) {})
}

func newFixtureWith(t testing.TB, change func(*executor.Options)) *fixture {
	needRoot(t)
	f := &fixture{streams: &streams{open: map[string]any{}}, dir: t.TempDir()}
	o := executor.Options{Root: filepath.Join(f.dir, "state"), Streams: f.streams, Filters: filepath.Join(f.dir, "filters")}
	change(&o)
	var err error
	f.service, err = executor.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.service.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fixture) Service() taskapi.TTRPCTaskService { return f.client }

func (f *fixture) Prepare(t *testing.T, id string, spec *specs.Spec) *taskapi.CreateTaskRequest {
	return f.prepare(t, id, spec)
}

func (f *fixture) prepare(t testing.TB, id string, spec *specs.Spec) *taskapi.CreateTaskRequest {
	t.Helper()
	bundle := filepath.Join(f.dir, id)
	makeRootfs(t, filepath.Join(bundle, "rootfs"))
	if spec.Linux.CgroupsPath == "" {
		spec.Linux.CgroupsPath = cgroupPath(id)
	}
	writeSpec(t, bundle, spec)
	return &taskapi.CreateTaskRequest{ID: id, Bundle: bundle}
}

func cgroupPath(id string) string { return filepath.Join(testCgroup(os.Getpid()), id) }

func writeSpec(t testing.TB, bundle string, spec *specs.Spec) {
	t.Helper()
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// makeRootfs makes a busybox root file system.
func makeRootfs(t testing.TB, dir string) {
	t.Helper()
	for _, d := range []string{"bin", "etc", "tmp", "proc", "dev", "sys", "root"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range executortest.Etc {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, applet := range applets() {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
}

var applets = sync.OnceValue(func() []string {
	out, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		panic(err)
	}
	return strings.Fields(string(out))
})

func (f *fixture) Stdio(_ *testing.T, terminal bool) *executortest.Stdio { return f.stdio(terminal) }

func (f *fixture) stdio(terminal bool) *executortest.Stdio {
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

// Leftovers lists mounts below the container's bundle and its cgroups.
func (f *fixture) Leftovers(t *testing.T, id string) []string {
	t.Helper()
	var left []string
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, filepath.Join(f.dir, id)) {
			left = append(left, line)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		found, err := filepath.Glob(pattern + cgroupPath(id))
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "state", id)); err == nil {
		left = append(left, "state")
	}
	return left
}

// streams are pipes by name.
type streams struct {
	mu   sync.Mutex
	open map[string]any
}

func (s *streams) add(end any) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := fmt.Sprint("stream-", len(s.open))
	s.open[name] = end
	return name
}

func (s *streams) OpenInput(_ context.Context, name string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[name].(io.ReadCloser), nil
}

func (s *streams) OpenOutput(_ context.Context, name string) (io.WriteCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[name].(io.WriteCloser), nil
}

// readAll gives everything that comes, once it has ended.
func readAll(r io.Reader) <-chan string {
	done := make(chan string, 1)
	go func() {
		data, _ := io.ReadAll(r)
		done <- string(data)
	}()
	return done
}
