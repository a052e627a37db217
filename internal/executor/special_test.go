package executor_test

import (
	"io"
	"os"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"

	"bothy/internal/executortest"
)

// start creates and starts a container with the default spec, changed.
func (f *fixture) start(t *testing.T, r *taskapi.CreateTaskRequest) {
	t.Helper()
	if _, err := f.service.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := f.service.Start(t.Context(), &taskapi.StartRequest{ID: r.ID}); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) wait(t *testing.T, id string) uint32 {
	t.Helper()
	r, err := f.service.Wait(t.Context(), &taskapi.WaitRequest{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	return r.ExitStatus
}

// Files are given to the process as they are, and are closed here.
func TestStdioFiles(t *testing.T) {
	f := newFixture(t)
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer outR.Close()
	spec := executortest.DefaultSpec()
	spec.Process.Args = []string{"/bin/sh", "-c", "cat; readlink /proc/self/fd/2"}
	r := f.prepare(t, "files", spec)
	r.Stdin, r.Stdout = f.streams.add(inR), f.streams.add(outW)
	out := readAll(outR)
	f.start(t, r)
	if _, err := io.WriteString(inW, "through\n"); err != nil {
		t.Fatal(err)
	}
	inW.Close()
	if got := <-out; got != "through\n/dev/null\n" {
		t.Errorf("output %q", got)
	}
	if got := f.wait(t, "files"); got != 0 {
		t.Errorf("exit status %d", got)
	}
}

// Without a PID namespace of its own, a container's other processes outlive its
// first one, unless somebody kills them.
func TestSharedPidNamespace(t *testing.T) {
	f := newFixture(t)
	spec := executortest.DefaultSpec()
	spec.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.UTSNamespace}, {Type: specs.IPCNamespace}}
	spec.Process.Args = []string{"/bin/sh", "-c", "sleep 1000 & echo started; exit 4"}
	r := f.prepare(t, "shared", spec)
	st := f.stdio(false)
	r.Stdout = st.Stdout
	out := readAll(st.Out)
	f.start(t, r)
	if got := f.wait(t, "shared"); got != 4 {
		t.Errorf("exit status %d, want 4", got)
	}
	if got := <-out; got != "started\n" {
		t.Errorf("output %q", got)
	}
	if _, err := f.service.Delete(t.Context(), &taskapi.DeleteRequest{ID: "shared"}); err != nil {
		t.Fatal(err)
	}
	if left := f.Leftovers(t, "shared"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestShutdown(t *testing.T) {
	f := newFixture(t)
	r := f.prepare(t, "last", executortest.DefaultSpec())
	f.start(t, r)
	f.wait(t, "last")
	shutdown := func() {
		if _, err := f.service.Shutdown(t.Context(), &taskapi.ShutdownRequest{ID: "last"}); err != nil {
			t.Fatal(err)
		}
	}
	shutdown()
	select {
	case <-f.service.Done():
		t.Fatal("shut down with a container left")
	default:
	}
	if _, err := f.service.Delete(t.Context(), &taskapi.DeleteRequest{ID: "last"}); err != nil {
		t.Fatal(err)
	}
	shutdown()
	<-f.service.Done()
}

// Many at once: nothing of one container is another's.
func TestConcurrentContainers(t *testing.T) {
	f := newFixture(t)
	ids := []string{"a", "b", "c", "d", "e", "f"}
	outs := map[string]<-chan string{}
	requests := map[string]*taskapi.CreateTaskRequest{}
	for _, id := range ids {
		spec := executortest.DefaultSpec()
		spec.Process.Args = []string{"/bin/sh", "-c", "echo " + id}
		requests[id] = f.prepare(t, id, spec)
		st := f.stdio(false)
		requests[id].Stdout = st.Stdout
		outs[id] = readAll(st.Out)
	}
	done := make(chan error, len(ids))
	for _, id := range ids {
		go func() { done <- f.life(t, requests[id]) }()
	}
	for range ids {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for _, id := range ids {
		if got := <-outs[id]; got != id+"\n" {
			t.Errorf("output of %s: %q", id, got)
		}
	}
}

// life is create, start, wait, delete.
func (f *fixture) life(t *testing.T, r *taskapi.CreateTaskRequest) error {
	if _, err := f.service.Create(t.Context(), r); err != nil {
		return err
	}
	if _, err := f.service.Start(t.Context(), &taskapi.StartRequest{ID: r.ID}); err != nil {
		return err
	}
	if _, err := f.service.Wait(t.Context(), &taskapi.WaitRequest{ID: r.ID}); err != nil {
		return err
	}
	_, err := f.service.Delete(t.Context(), &taskapi.DeleteRequest{ID: r.ID})
	return err
}
