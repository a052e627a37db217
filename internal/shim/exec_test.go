package shim_test

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"

	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
)

func TestExec(t *testing.T) {
	b := newBox(t)
	b.create(script("exec sleep 1000"))
	b.start()
	value, err := json.Marshal(specs.Process{Args: []string{"/bin/sh", "-c", "cat; echo err >&2; exit 5"}, Cwd: "/", Env: []string{"PATH=/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.Task.Exec(b.ctx, &taskAPI.ExecProcessRequest{
		ID: b.id, ExecID: "e1", Stdin: "yes", Stdout: "yes", Stderr: "yes", Spec: &anypb.Any{Value: value},
	}); err != nil {
		t.Fatal(err)
	}
	conn := b.attach(shimapi.AttachRequest{ExecID: "e1", Stdin: true, Stdout: true, Stderr: true})
	if _, err := b.client.Task.Start(b.ctx, &taskAPI.StartRequest{ID: b.id, ExecID: "e1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "typed"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if out, errs := frames(t, conn); out != "typed" || errs != "err\n" {
		t.Errorf("attached: %q, %q", out, errs)
	}
	w, err := b.client.Task.Wait(b.ctx, &taskAPI.WaitRequest{ID: b.id, ExecID: "e1"})
	if err != nil || w.ExitStatus != 5 {
		t.Errorf("Wait: %v, %v", w, err)
	}
	if _, err := b.client.Task.Delete(b.ctx, &taskAPI.DeleteRequest{ID: b.id, ExecID: "e1"}); err != nil {
		t.Error(err)
	}
	if _, _, err := b.client.Attach(b.ctx, shimapi.AttachRequest{ExecID: "e1", Stdout: true}); !errdefs.IsNotFound(err) {
		t.Errorf("attaching to what is gone: %v", err)
	}
	if out, errs := b.log(); out+errs != "" {
		t.Errorf("an exec's output is in the log: %q, %q", out, errs)
	}
}

func TestOutOfMemoryIsRecorded(t *testing.T) {
	b := newBox(t)
	b.create(script("exec dd if=/dev/zero of=/dev/null bs=200M count=1"), func(s *specs.Spec, _ *shimapi.CreateOptions) {
		limit := int64(16 << 20)
		s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}}
	})
	b.start()
	if status := b.wait(); status != 137 {
		t.Errorf("status %d", status)
	}
	if e := b.exit(); !e.OOMKilled {
		t.Errorf("exit record %+v", e)
	}
	b.delete()
}

func TestNetworkNamespaceIsNamed(t *testing.T) {
	b := prepareBox(t)
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	b.opts.Network = []*os.File{ns}
	if b.client, err = shimclient.Start(b.ctx, b.opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.remove)
	name := filepath.Join(b.bundle, shimapi.NetNSFile)
	b.create(script("ls -l /proc/self/fd /proc/self/ns/net; ls /proc/1/fd"), func(s *specs.Spec, o *shimapi.CreateOptions) {
		o.NetNS = true
		for i := range s.Linux.Namespaces {
			if s.Linux.Namespaces[i].Type == specs.NetworkNamespace {
				s.Linux.Namespaces[i].Path = name
			}
		}
	})
	b.start()
	b.wait()
	want, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	out, _ := b.log()
	if !strings.Contains(out, want) {
		t.Errorf("the container says %q, want %s", out, want)
	}
	if strings.Contains(out, "\n5\n") {
		t.Errorf("descriptors reached the container: %q", out)
	}
	if info, err := os.Stat(name); err != nil || info.Size() != 0 || !info.Mode().IsRegular() {
		t.Errorf("the namespace's name on the host: %v, %v", info, err)
	}
	b.delete()
}

// TestErrorsKeepTheirKind asks for what cannot be.
func TestErrorsKeepTheirKind(t *testing.T) {
	b := newBox(t)
	if _, err := b.client.Task.Start(b.ctx, &taskAPI.StartRequest{ID: b.id}); !errdefs.IsNotFound(err) || strings.Contains(err.Error(), "rpc") {
		t.Errorf("Start without Create: %v", err)
	}
	if _, err := b.client.Task.Checkpoint(b.ctx, &taskAPI.CheckpointTaskRequest{ID: b.id}); !errdefs.IsNotImplemented(err) {
		t.Errorf("Checkpoint: %v", err)
	}
	if _, err := b.client.Task.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: b.id}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("Create without options: %v", err)
	}
	if _, err := b.client.Task.Shutdown(b.ctx, &taskAPI.ShutdownRequest{ID: b.id}); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	<-b.client.Done()
}

// TestLongPaths has a bundle whose sockets' paths fit no address.
func TestLongPaths(t *testing.T) {
	b := prepareBox(t)
	b.bundle = filepath.Join(b.bundle, strings.Repeat("long/", 30))
	if err := os.MkdirAll(b.bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	b.opts.Bundle = b.bundle
	var err error
	if b.client, err = shimclient.Start(b.ctx, b.opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.remove)
	b.create(script("echo hello"))
	conn := b.attach(shimapi.AttachRequest{Stdout: true})
	b.start()
	if out, _ := frames(t, conn); out != "hello\n" {
		t.Errorf("output %q", out)
	}
	b.wait()
	b.delete()
}
