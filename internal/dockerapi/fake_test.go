package dockerapi

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fake is an engine with one image and one container, "web". It remembers how
// it was called.
type fake struct {
	mu    sync.Mutex
	calls []string
	err   error // what every call answers with, if set

	create   CreateRequest
	auth     *registry.AuthConfig
	body     []byte // what an upload held
	bodyErr  error
	live     chan events.Message
	wait     chan container.WaitResponse
	logs     Logs
	tty      bool
	attached func(context.Context, Conn)
	raw      bool // how output was asked for
}

func (f *fake) call(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fake) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.calls) == 0 {
		return ""
	}
	return f.calls[len(f.calls)-1]
}

func (f *fake) find(ref string) error {
	if ref != "web" {
		return fmt.Errorf("No such container: %s: %w", ref, errdefs.ErrNotFound)
	}
	return nil
}

func (f *fake) Info(context.Context) (*system.Info, error) {
	return &system.Info{Name: "host", ServerVersion: "1", RuncCommit: system.Commit{ID: "abc"}}, f.call("info")
}

func (f *fake) Version(context.Context) (*system.VersionResponse, error) {
	return &system.VersionResponse{Version: "1", Os: "linux"}, f.call("version")
}

func (f *fake) Subscribe(_ context.Context, since, until time.Time, filters Filters) ([]events.Message, <-chan events.Message, error) {
	past := []events.Message{{Type: events.ContainerEventType, Action: "start", Actor: events.Actor{ID: "1", Attributes: map[string]string{"image": "busybox"}}, TimeNano: 7}}
	return past, f.live, f.call("subscribe %d %d %v", since.UnixNano(), until.UnixNano(), filters)
}

func (f *fake) Login(_ context.Context, server string, auth *registry.AuthConfig) error {
	if auth.Password == "wrong" {
		return fmt.Errorf("unauthorized: %w", errdefs.ErrUnauthenticated)
	}
	return f.call("login %s as %s", server, auth.Username)
}

func (f *fake) PullImage(_ context.Context, ref string, platform *ocispec.Platform, auth *registry.AuthConfig, out Progress) error {
	f.auth = auth
	if ref == "broken:later" {
		out(jsonstream.Message{Status: "Pulling", ID: "layer"})
		return fmt.Errorf("reading the layer: %w", errdefs.ErrUnavailable)
	}
	if ref == "gone:latest" {
		return fmt.Errorf("pulling %s: %w", ref, errdefs.ErrNotFound)
	}
	out(jsonstream.Message{Status: "Downloading", ID: "layer", Progress: &jsonstream.Progress{Current: 1, Total: 2}})
	return f.call("pull %s %v", ref, platform)
}

func (f *fake) read(r io.Reader) error {
	f.body, f.bodyErr = io.ReadAll(r)
	if f.bodyErr != nil {
		return fmt.Errorf("reading the archive: %w", f.bodyErr)
	}
	return nil
}

func (f *fake) ImportImage(_ context.Context, rootfs io.Reader, ref, message string, changes []string, _ *ocispec.Platform, out Progress) (string, error) {
	if err := f.call("import %s %q %q", ref, message, changes); err != nil {
		return "", err
	}
	if err := f.read(rootfs); err != nil {
		return "", err
	}
	out(jsonstream.Message{Status: "sha256:1234"})
	return "sha256:1234", nil
}

func (f *fake) LoadImages(_ context.Context, archive io.Reader, _ *ocispec.Platform, out Progress) error {
	if err := f.call("load"); err != nil {
		return err
	}
	out(jsonstream.Message{Status: "Loading layer", Progress: &jsonstream.Progress{Current: 1}})
	if err := f.read(archive); err != nil {
		return err
	}
	out(jsonstream.Message{Stream: "Loaded image: busybox:latest\n"})
	return nil
}

func (f *fake) ListImages(_ context.Context, all bool, filters Filters) ([]image.Summary, error) {
	return []image.Summary{{ID: "sha256:1", Size: 5, Descriptor: &ocispec.Descriptor{}, Manifests: []image.ManifestSummary{{}}}}, f.call("images %v %v", all, filters)
}

func (f *fake) InspectImage(_ context.Context, ref string) (*image.InspectResponse, error) {
	return &image.InspectResponse{ID: "sha256:1", Size: 5, Config: &dockerspec.DockerOCIImageConfig{}}, f.call("image %s", ref)
}

func (f *fake) TagImage(_ context.Context, ref, repo, tag string) error {
	return f.call("tag %s %s %s", ref, repo, tag)
}

func (f *fake) RemoveImage(_ context.Context, ref string, force, noPrune bool) ([]image.DeleteResponse, error) {
	return nil, f.call("rmi %s %v %v", ref, force, noPrune)
}

func (f *fake) CreateContainer(_ context.Context, req CreateRequest) (container.CreateResponse, error) {
	f.create = req
	return container.CreateResponse{ID: "1"}, f.call("create %s", req.Name)
}

func (f *fake) StartContainer(_ context.Context, ref string) error {
	if err := f.call("start %s", ref); err != nil {
		return err
	}
	return f.find(ref)
}

func (f *fake) StopContainer(_ context.Context, ref, sig string, timeout *int) error {
	return f.call("stop %s %s %s", ref, sig, number(timeout))
}

func (f *fake) RestartContainer(_ context.Context, ref, sig string, timeout *int) error {
	return f.call("restart %s %s %s", ref, sig, number(timeout))
}

func number(n *int) string {
	if n == nil {
		return "nil"
	}
	return fmt.Sprint(*n)
}

func (f *fake) KillContainer(_ context.Context, ref, sig string) error {
	return f.call("kill %s %s", ref, sig)
}

func (f *fake) RemoveContainer(_ context.Context, ref string, force, volumes bool) error {
	return f.call("rm %s %v %v", ref, force, volumes)
}

func (f *fake) RenameContainer(_ context.Context, ref, name string) error {
	return f.call("rename %s %s", ref, name)
}

func (f *fake) ResizeContainer(_ context.Context, ref string, height, width uint16) error {
	return f.call("resize %s %d %d", ref, height, width)
}

func (f *fake) AttachContainer(ctx context.Context, ref string, req AttachRequest) error {
	if err := f.find(ref); err != nil {
		return err
	}
	f.raw = req.Raw
	conn, err := req.Open(f.tty)
	if err != nil {
		return err
	}
	defer conn.Close()
	f.attached(ctx, conn)
	return nil
}

func (f *fake) WaitContainer(_ context.Context, ref string, condition container.WaitCondition) (<-chan container.WaitResponse, error) {
	if err := f.find(ref); err != nil {
		return nil, err
	}
	return f.wait, f.call("wait %s %s", ref, condition)
}

func (f *fake) ContainerLogs(_ context.Context, ref string, req LogsRequest) (Logs, error) {
	if err := f.find(ref); err != nil {
		return nil, err
	}
	return f.logs, f.call("logs %s %+v", ref, req)
}

func (f *fake) ListContainers(_ context.Context, all bool, limit int, size bool, filters Filters) ([]container.Summary, error) {
	return []container.Summary{{ID: "1", Ports: []container.PortSummary{{PrivatePort: 80, Type: "tcp"}}}}, f.call("ps %v %d %v %v", all, limit, size, filters)
}

func (f *fake) InspectContainer(_ context.Context, ref string, size bool) (*container.InspectResponse, error) {
	if err := f.find(ref); err != nil {
		return nil, err
	}
	mac, _ := net.ParseMAC("02:42:ac:11:00:02")
	return &container.InspectResponse{
		ID: "1", Name: "/web", Driver: "erofs", Config: &container.Config{Image: "busybox"}, HostConfig: &container.HostConfig{},
		NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{"bridge": {
			IPAddress: netip.MustParseAddr("172.17.0.2"), IPPrefixLen: 16, Gateway: netip.MustParseAddr("172.17.0.1"), MacAddress: network.HardwareAddr(mac),
		}}},
	}, f.call("inspect %s %v", ref, size)
}

// fakeLogs are lines handed out one by one; Next then waits if live is set.
type fakeLogs struct {
	lines []LogLine
	tty   bool
	live  bool
	err   error
}

func (l *fakeLogs) TTY() bool    { return l.tty }
func (l *fakeLogs) Close() error { return nil }

func (l *fakeLogs) Next(ctx context.Context) (LogLine, error) {
	if len(l.lines) == 0 {
		if l.err != nil {
			return LogLine{}, l.err
		}
		if l.live {
			<-ctx.Done()
			return LogLine{}, ctx.Err()
		}
		return LogLine{}, io.EOF
	}
	line := l.lines[0]
	l.lines = l.lines[1:]
	return line, nil
}

// serveFake serves f on a Unix socket and gives the socket's path and a client
// of docker's.
func serveFake(t *testing.T, f *fake) (string, *client.Client, *Server) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	api := New(f, Options{Log: slog.New(slog.DiscardHandler), ServerVersion: "test"})
	server := &http.Server{Handler: api}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	c, err := client.New(client.WithHost("unix://" + socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return socket, c, api
}

func (f *fake) CreateExec(_ context.Context, ref string, req container.ExecCreateRequest) (string, error) {
	if err := f.find(ref); err != nil {
		return "", err
	}
	return "e1", f.call("exec %s %q tty=%v size=%v stdout=%v", ref, req.Cmd, req.Tty, req.ConsoleSize, req.AttachStdout)
}

func (f *fake) StartExec(ctx context.Context, id string, req ExecStart) error {
	if err := f.call("exec start %s detach=%v tty=%v size=%v", id, req.Detach, req.TTY, req.ConsoleSize); err != nil || req.Detach {
		return err
	}
	conn, err := req.Open(req.TTY)
	if err != nil {
		return err
	}
	defer conn.Close()
	f.attached(ctx, conn)
	return nil
}

func (f *fake) ResizeExec(_ context.Context, id string, height, width uint16) error {
	return f.call("exec resize %s %d %d", id, height, width)
}

func (f *fake) InspectExec(_ context.Context, id string) (*container.ExecInspectResponse, error) {
	return &container.ExecInspectResponse{ID: id, ProcessConfig: &container.ExecProcessConfig{Entrypoint: "ls"}}, f.call("exec inspect %s", id)
}

func (f *fake) UpdateContainer(_ context.Context, ref string, change container.UpdateConfig) (container.UpdateResponse, error) {
	pids := "unchanged"
	if change.PidsLimit != nil {
		pids = strconv.FormatInt(*change.PidsLimit, 10)
	}
	return container.UpdateResponse{}, f.call("update %s memory=%d pids=%s restart=%s", ref, change.Memory, pids, change.RestartPolicy.Name)
}

func (f *fake) PauseContainer(_ context.Context, ref string) error { return f.call("pause %s", ref) }

func (f *fake) UnpauseContainer(_ context.Context, ref string) error {
	return f.call("unpause %s", ref)
}

func (f *fake) ContainerTop(_ context.Context, ref, options string) (*container.TopResponse, error) {
	return &container.TopResponse{Titles: []string{"PID"}, Processes: [][]string{{"1"}}}, f.call("top %s %q", ref, options)
}

func (f *fake) ContainerStats(ctx context.Context, ref string, req StatsRequest, send func(*container.StatsResponse) error) error {
	if err := f.find(ref); err != nil {
		return err
	}
	if err := f.call("stats %s %+v", ref, req); err != nil {
		return err
	}
	if err := send(&container.StatsResponse{ID: "1", Name: "/web"}); err != nil || !req.Stream {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f *fake) PruneContainers(_ context.Context, filters Filters) (*container.PruneReport, error) {
	return &container.PruneReport{ContainersDeleted: []string{"1"}, SpaceReclaimed: 7}, f.call("prune %v", filters)
}
