package shim_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"bothy/internal/executor/sealed"
	"bothy/internal/executortest"
	"bothy/internal/logfile"
	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
	"bothy/internal/trace"
)

// program is the shim, built once for all tests as a release is.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "bothy-shim-test")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "containerd-shim-bothy-v2")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "seccomp netgo osusergo no_grpc runc_nocriu grpcnotrace",
		"-ldflags", "-s -w -extldflags -static", "-o", path, "bothy/cmd/containerd-shim-bothy-v2")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the shim: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == engineArg {
		os.Exit(engine())
	}
	code := m.Run()
	if ranShim {
		if path, err := program(); err == nil {
			_ = os.RemoveAll(filepath.Dir(path))
		}
		removeCgroups()
	}
	os.Exit(code)
}

var ranShim bool // set before the first use of program, by tests that run one after the other

// box is a container with a shim of its own.
type box struct {
	t      *testing.T
	ctx    context.Context
	id     string
	bundle string
	state  string
	opts   shimclient.Options
	client *shimclient.Client
	rootfs []*types.Mount // none: a directory in the bundle
}

// applets are what the containers' busybox does.
var applets = []string{"sh", "cat", "echo", "sleep", "head", "yes", "stty", "seq", "dd", "usleep", "uname", "ls"}

// newBox starts a shim; what is left of it at the test's end is removed.
func newBox(t *testing.T) *box {
	t.Helper()
	b := prepareBox(t)
	client, err := shimclient.Start(b.ctx, b.opts)
	if err != nil {
		t.Fatal(err)
	}
	b.client = client
	t.Cleanup(b.remove)
	return b
}

// prepareBox makes what a shim needs.
func prepareBox(t *testing.T) *box {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("needs busybox-static: ", err)
	}
	ranShim = true
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	dir := t.TempDir()
	b := &box{t: t, ctx: ctx, id: fmt.Sprintf("shimtest-%d-%d", os.Getpid(), time.Now().UnixNano()),
		bundle: filepath.Join(dir, "bundle"), state: filepath.Join(dir, "state")}
	for _, d := range []string{b.bundle, b.state} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	file, err := sealed.File(binary) // as the engine does
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	b.opts = shimclient.Options{Binary: binary, Executable: file, ID: b.id, Bundle: b.bundle, StateDir: b.state}
	return b
}

// remove ends the shim, however far its container came.
func (b *box) remove() {
	if b.t.Failed() {
		if data, err := os.ReadFile(filepath.Join(b.bundle, shimapi.ShimLog)); err == nil && len(data) > 0 {
			b.t.Logf("shim.log:\n%s", data)
		}
	}
	select {
	case <-b.client.Done():
	default:
		_ = unix.Kill(b.client.Pid, unix.SIGKILL)
		<-b.client.Done()
	}
	if err := shimclient.Cleanup(context.Background(), b.opts); err != nil {
		b.t.Error(err)
	}
}

// create makes the container; changes may alter spec and options.
func (b *box) create(changes ...func(*specs.Spec, *shimapi.CreateOptions)) {
	b.t.Helper()
	spec := executortest.DefaultSpec()
	spec.Linux.CgroupsPath = "/bothy-shim-test/" + b.id
	opts := shimapi.CreateOptions{
		Version: shimapi.Version, StateDir: b.state,
		Log: shimapi.LogOptions{Driver: "json-file", Path: filepath.Join(b.state, "json.log")},
	}
	for _, c := range changes {
		c(spec, &opts)
	}
	if b.rootfs == nil {
		makeRootfs(b.t, filepath.Join(b.bundle, "rootfs"))
	}
	writeJSON(b.t, filepath.Join(b.bundle, shimapi.SpecFile), spec)
	value, err := json.Marshal(opts)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.client.Task.Create(b.ctx, &taskAPI.CreateTaskRequest{
		ID: b.id, Bundle: b.bundle, Rootfs: b.rootfs, Terminal: spec.Process.Terminal,
		Options: &anypb.Any{TypeUrl: shimapi.CreateOptionsURL, Value: value},
	}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) start() {
	b.t.Helper()
	if _, err := b.client.Task.Start(b.ctx, &taskAPI.StartRequest{ID: b.id}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) wait() int {
	b.t.Helper()
	resp, err := b.client.Task.Wait(b.ctx, &taskAPI.WaitRequest{ID: b.id})
	if err != nil {
		b.t.Fatal(err)
	}
	return int(resp.ExitStatus)
}

// delete removes the container and lets the shim end.
func (b *box) delete() {
	b.t.Helper()
	if _, err := b.client.Task.Delete(b.ctx, &taskAPI.DeleteRequest{ID: b.id}); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.client.Task.Shutdown(b.ctx, &taskAPI.ShutdownRequest{ID: b.id}); err != nil {
		b.t.Fatal(err)
	}
	select {
	case <-b.client.Done():
	case <-b.ctx.Done():
		b.t.Fatal("the shim did not end")
	}
}

func (b *box) attach(req shimapi.AttachRequest) shimclient.Conn {
	b.t.Helper()
	conn, tty, err := b.client.Attach(b.ctx, req)
	if err != nil {
		b.t.Fatal(err)
	}
	_ = tty
	b.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// log gives what the log holds of each stream.
func (b *box) log() (stdout, stderr string) {
	b.t.Helper()
	r, err := logfile.Open(filepath.Join(b.state, "json.log"), logfile.ReadOptions{Stdout: true, Stderr: true, Tail: -1})
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	var out, errs strings.Builder
	for {
		line, err := r.Next(b.ctx)
		if errors.Is(err, io.EOF) {
			return out.String(), errs.String()
		}
		if err != nil {
			b.t.Fatal(err)
		}
		if line.Stream == "stderr" {
			errs.Write(line.Data)
		} else {
			out.Write(line.Data)
		}
	}
}

func (b *box) exit() shimapi.Exit {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.state, shimapi.ExitFile))
	if err != nil {
		b.t.Fatal(err)
	}
	var e shimapi.Exit
	if err := json.Unmarshal(data, &e); err != nil {
		b.t.Fatal(err)
	}
	return e
}

func script(text string) func(*specs.Spec, *shimapi.CreateOptions) {
	return func(s *specs.Spec, _ *shimapi.CreateOptions) { s.Process.Args = []string{"/bin/sh", "-c", text} }
}

func stdin(once bool) func(*specs.Spec, *shimapi.CreateOptions) {
	return func(_ *specs.Spec, o *shimapi.CreateOptions) { o.OpenStdin, o.StdinOnce = true, once }
}

// frames takes docker's frames apart.
func frames(t *testing.T, r io.Reader) (stdout, stderr string) {
	t.Helper()
	var out [3]strings.Builder
	for {
		var h [8]byte
		if _, err := io.ReadFull(r, h[:]); errors.Is(err, io.EOF) {
			return out[1].String(), out[2].String()
		} else if err != nil {
			t.Fatal(err)
		}
		if h[0] != 1 && h[0] != 2 {
			t.Fatalf("frame header %v", h)
		}
		if _, err := io.CopyN(&out[h[0]], r, int64(binary.BigEndian.Uint32(h[4:]))); err != nil {
			t.Fatal(err)
		}
	}
}

func makeRootfs(t *testing.T, dir string) {
	t.Helper()
	for _, d := range []string{"bin", "etc", "tmp", "proc", "dev", "sys"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
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
	for name, text := range executortest.Etc {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, applet := range applets {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestOutputReachesLogAndClients(t *testing.T) {
	b := newBox(t)
	traced := filepath.Join(t.TempDir(), "trace")
	b.create(script("echo out; echo err >&2; exit 42"), func(_ *specs.Spec, o *shimapi.CreateOptions) {
		o.Trace = &shimapi.Trace{Path: traced, Origin: trace.Now()}
	})
	conn := b.attach(shimapi.AttachRequest{Stdout: true, Stderr: true})
	b.start()
	out, errs := frames(t, conn)
	if out != "out\n" || errs != "err\n" {
		t.Errorf("attached: %q, %q", out, errs)
	}
	if status := b.wait(); status != 42 {
		t.Errorf("status %d", status)
	}
	if out, errs := b.log(); out != "out\n" || errs != "err\n" {
		t.Errorf("log: %q, %q", out, errs)
	}
	if e := b.exit(); e.Status != 42 || e.Pid == 0 || e.ExitedAt.IsZero() || e.Error != "" || e.OOMKilled {
		t.Errorf("exit record %+v", e)
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", b.client.Pid)); err != nil || string(name) != "containerd-shim\n" {
		t.Errorf("the shim is listed as %q, %v", name, err)
	}
	late := b.attach(shimapi.AttachRequest{Stdout: true})
	if out, errs := frames(t, late); out+errs != "" {
		t.Errorf("late client: %q, %q", out, errs)
	}
	b.delete()
	lines, err := os.ReadFile(traced)
	for _, phase := range []string{"shim up", "root file system mounted", "first process started", "first process ended", "container deleted"} {
		if err != nil || !strings.Contains(string(lines), "shim["+b.id[:min(12, len(b.id))]+"] "+phase+"\n") {
			t.Errorf("the trace has no line of %q: %v\n%s", phase, err, lines)
		}
	}
}

func TestStdinOnce(t *testing.T) {
	b := newBox(t)
	b.create(script("cat; echo end"), stdin(true))
	conn := b.attach(shimapi.AttachRequest{Stdin: true, Stdout: true})
	if _, err := io.WriteString(conn, "early\n"); err != nil {
		t.Fatal(err)
	}
	b.start()
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if out, _ := frames(t, conn); out != "early\nend\n" {
		t.Errorf("output %q", out)
	}
	if status := b.wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	b.delete()
}

func TestTerminal(t *testing.T) {
	b := newBox(t)
	b.create(script("stty size; cat"), stdin(true), func(s *specs.Spec, _ *shimapi.CreateOptions) {
		s.Process.Terminal = true
		s.Process.ConsoleSize = &specs.Box{Height: 11, Width: 22}
	})
	conn := b.attach(shimapi.AttachRequest{Stdin: true, Stdout: true, Stderr: true})
	b.start()
	if _, err := io.WriteString(conn, "typed\n\x04"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(got), "11 22\r\n") || !strings.Contains(string(got), "typed\r\n") {
		t.Errorf("terminal output %q", got)
	}
	if status := b.wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	b.delete()
}
