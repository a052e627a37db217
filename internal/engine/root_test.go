package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/jsonstream"

	"bothy/internal/engineapi"
	"bothy/internal/network"
)

// The tests in this file run real containers: they need root, busybox-static,
// and a compiler for the shim.

// buildShim compiles the shim program once a test.
func buildShim(t *testing.T) string {
	t.Helper()
	if named := os.Getenv("BOTHY_SHIM"); named != "" {
		return named
	}
	out := filepath.Join(t.TempDir(), shimProgram)
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "seccomp netgo osusergo no_grpc runc_nocriu grpcnotrace",
		"-ldflags", "-s -w -extldflags -static", "-o", out, "bothy/cmd/containerd-shim-bothy-v2")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the shim: %v\n%s", err, text)
	}
	return out
}

func rootOptions(t *testing.T) Options {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes namespaces, mounts and network links")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("needs busybox-static in /bin/busybox")
	}
	dir := t.TempDir()
	id := newID()[:6]
	level := slog.LevelInfo
	if testing.Verbose() {
		level = slog.LevelDebug
	}
	return Options{
		DataRoot: filepath.Join(dir, "data"), ExecRoot: filepath.Join(dir, "exec"), Shim: buildShim(t), CgroupParent: "/bothytest" + id,
		Network: network.Options{StateDir: dir, Bridge: "bt" + id, Table: "bothytest" + id, BIP: netip.MustParsePrefix("172.31.251.1/24")},
		Log:     slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level})),
	}
}

// busyboxTar is the tar of a root file system with busybox as its only program.
func busyboxTar(t *testing.T) io.Reader {
	t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, data []byte) {
		h.Size, h.ModTime = int64(len(data)), time.Unix(1, 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin/", "etc/", "proc/", "sys/", "dev/", "tmp/"} {
		add(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	for _, name := range []string{"sh", "echo", "cat", "sleep", "hostname", "ip", "true", "kill"} {
		add(tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
	}
	add(tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0:root:/:/bin/sh\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func discard(jsonstream.Message) {}

func openReal(t *testing.T, opts Options) *Engine {
	t.Helper()
	e, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// sweepEngine removes every container and closes the engine.
func sweepEngine(t *testing.T, e *Engine) {
	ctx := context.Background()
	list, err := e.ListContainers(ctx, true, 0, false, nil)
	if err != nil {
		t.Error(err)
	}
	for _, c := range list {
		if err := e.RemoveContainer(ctx, c.ID, true, true); err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("removing %v: %v", c.Names, err)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

func importBusybox(t *testing.T, e *Engine) {
	t.Helper()
	if _, err := e.ImportImage(t.Context(), busyboxTar(t), "busybox:latest", "", []string{"CMD [\"sh\"]", "ENV PATH=/bin"}, nil, discard); err != nil {
		t.Fatal(err)
	}
}

// outcome is what a container left behind.
type outcome struct {
	output string
	code   int64
}

// runReal does what `docker run --rm` does: create, attach, wait, start, read.
func runReal(t *testing.T, e *Engine, host container.HostConfig, cfg container.Config) (outcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg.Image = "busybox"
	host.AutoRemove = true
	created, err := e.CreateContainer(ctx, engineapi.CreateRequest{Config: &cfg, HostConfig: &host})
	if err != nil {
		return outcome{}, err
	}
	client, server := socketPair(t)
	attached := make(chan error, 1)
	opened := make(chan struct{})
	go func() {
		attached <- e.AttachContainer(ctx, created.ID, engineapi.AttachRequest{
			Stdin: cfg.OpenStdin, Stdout: true, Stderr: true, Stream: true,
			Open: func(bool) (engineapi.Conn, error) { close(opened); return server, nil },
		})
	}()
	<-opened
	gone, err := e.WaitContainer(ctx, created.ID, container.WaitConditionRemoved)
	if err != nil {
		return outcome{}, err
	}
	startErr := e.StartContainer(ctx, created.ID)
	if startErr == nil && cfg.OpenStdin {
		_, _ = io.WriteString(client, "from stdin\n")
	}
	_ = client.CloseWrite()
	data, err := io.ReadAll(client)
	if err != nil {
		t.Error(err)
	}
	if err := <-attached; err != nil {
		t.Error(err)
	}
	answer, ok := <-gone
	if !ok {
		t.Error("no answer to the wait")
	}
	return outcome{unframe(t, data), answer.StatusCode}, startErr
}

// unframe takes docker's stream headers away.
func unframe(t *testing.T, data []byte) string {
	t.Helper()
	var text strings.Builder
	for len(data) >= 8 {
		n := int(data[4])<<24 | int(data[5])<<16 | int(data[6])<<8 | int(data[7])
		if len(data) < 8+n {
			t.Fatalf("a frame of %d bytes is cut off", n)
		}
		text.Write(data[8 : 8+n])
		data = data[8+n:]
	}
	return text.String()
}

func socketPair(t *testing.T) (client, server *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client, server
}

func TestRealContainers(t *testing.T) {
	e := openReal(t, rootOptions(t))
	defer sweepEngine(t, e)
	importBusybox(t, e)

	for _, tc := range []struct {
		name   string
		host   container.HostConfig
		cfg    container.Config
		output string
		code   int64
		kind   func(error) bool
	}{
		{name: "echo", cfg: container.Config{Cmd: []string{"echo", "hi"}}, output: "hi\n"},
		{name: "exit code", cfg: container.Config{Cmd: []string{"sh", "-c", "exit 42"}}, code: 42},
		{name: "stdin", cfg: container.Config{Cmd: []string{"cat"}, OpenStdin: true, StdinOnce: true}, output: "from stdin\n"},
		{name: "hostname", cfg: container.Config{Cmd: []string{"hostname"}, Hostname: "h"}, output: "h\n"},
		{name: "no network", host: container.HostConfig{NetworkMode: "none"}, cfg: container.Config{Cmd: []string{"echo", "none"}}, output: "none\n"},
		{name: "host network", host: container.HostConfig{NetworkMode: "host"}, cfg: container.Config{Cmd: []string{"echo", "host"}}, output: "host\n"},
		{name: "no such command", cfg: container.Config{Cmd: []string{"nonsense"}}, code: 127, kind: errdefs.IsInvalidArgument},
		{name: "not executable", cfg: container.Config{Cmd: []string{"/etc/passwd"}}, code: 126, kind: errdefs.IsInvalidArgument},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := runReal(t, e, tc.host, tc.cfg)
			if (tc.kind == nil) != (err == nil) || err != nil && !tc.kind(err) {
				t.Fatalf("start: %v", err)
			}
			if got.output != tc.output || got.code != tc.code {
				t.Errorf("got %q and %d, want %q and %d", got.output, got.code, tc.output, tc.code)
			}
			if err != nil {
				t.Logf("as it should: %v", err)
			}
		})
	}
}

func TestContainersOutliveTheEngine(t *testing.T) {
	opts := rootOptions(t)
	e := openReal(t, opts)
	importBusybox(t, e)
	ctx := t.Context()
	ids := map[string]string{}
	for name, command := range map[string]string{"stays": "exec sleep 1000", "ends": "cat; exit 7"} {
		created, err := e.CreateContainer(ctx, engineapi.CreateRequest{Name: name, Config: &container.Config{
			Image: "busybox", Cmd: []string{"sh", "-c", command}, OpenStdin: true, StdinOnce: true, StopSignal: "SIGKILL",
		}})
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = created.ID
		if err := e.StartContainer(ctx, created.ID); err != nil {
			t.Fatal(err)
		}
	}
	before, err := e.InspectContainer(ctx, "stays", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	endByItself(t, filepath.Join(opts.ExecRoot, "c", ids["ends"]))

	e = openReal(t, opts)
	defer sweepEngine(t, e)
	after, err := e.InspectContainer(ctx, "stays", false)
	if err != nil {
		t.Fatal(err)
	}
	if !after.State.Running || after.State.Pid != before.State.Pid || after.State.StartedAt != before.State.StartedAt {
		t.Errorf("before %+v, after %+v", before.State, after.State)
	}
	if a, b := fmt.Sprint(before.NetworkSettings.Networks["bridge"]), fmt.Sprint(after.NetworkSettings.Networks["bridge"]); a != b {
		t.Errorf("network before %s, after %s", a, b)
	}
	wait, err := e.WaitContainer(ctx, "ends", container.WaitConditionNotRunning)
	if err != nil {
		t.Fatal(err)
	}
	if r := <-wait; r.StatusCode != 7 {
		t.Errorf("the one that ended meanwhile: %+v", r)
	}
	if err := e.StopContainer(ctx, "stays", "", nil); err != nil {
		t.Error(err)
	}
}
