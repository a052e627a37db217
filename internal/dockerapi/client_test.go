package dockerapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// limit bounds what a test may take; nothing comes near it.
func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestClientNegotiatesAndReadsSystem(t *testing.T) {
	t.Parallel()
	_, c, _ := serveFake(t, &fake{})
	ping, err := c.Ping(limit(t), client.PingOptions{NegotiateAPIVersion: true})
	if err != nil || ping.APIVersion != "1.51" || ping.OSType != "linux" {
		t.Fatalf("ping: %+v, %v", ping, err)
	}
	if c.ClientVersion() != "1.51" {
		t.Errorf("negotiated %s", c.ClientVersion())
	}
	version, err := c.ServerVersion(limit(t), client.ServerVersionOptions{})
	if err != nil || version.APIVersion != "1.51" || version.MinAPIVersion != "1.24" {
		t.Errorf("version: %+v, %v", version, err)
	}
	info, err := c.Info(limit(t), client.InfoOptions{})
	if err != nil || info.Info.Name != "host" || info.Info.RuncCommit.ID != "abc" {
		t.Errorf("info: %+v, %v", info, err)
	}
	plugins, err := c.PluginList(limit(t), client.PluginListOptions{})
	if err != nil || len(plugins.Items) != 0 {
		t.Errorf("plugins: %+v, %v", plugins, err)
	}
	if _, err := c.SwarmInspect(limit(t), client.SwarmInspectOptions{}); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "not a swarm manager") {
		t.Errorf("swarm: %v", err)
	}
	if _, err := c.NetworkList(limit(t), client.NetworkListOptions{}); !errdefs.IsNotImplemented(err) {
		t.Errorf("networks of an engine without: %v", err)
	}
}

func TestClientFollowsEvents(t *testing.T) {
	t.Parallel()
	f := &fake{live: make(chan events.Message, 1)}
	_, c, api := serveFake(t, f)
	stream := c.Events(limit(t), client.EventsListOptions{Since: "12.5", Filters: client.Filters{}.Add("type", "container")})
	first := <-stream.Messages
	if first.Action != "start" || first.Actor.ID != "1" {
		t.Errorf("past event: %+v", first)
	}
	f.live <- events.Message{Type: events.ImageEventType, Action: "pull"}
	if m := <-stream.Messages; m.Action != "pull" {
		t.Errorf("live event: %+v", m)
	}
	if got := f.last(); !strings.HasPrefix(got, "subscribe 12500000000 ") || !strings.Contains(got, "container:true") {
		t.Errorf("engine was asked %q", got)
	}
	api.Stop()
	if err := <-stream.Err; !errors.Is(err, io.EOF) {
		t.Errorf("end of the stream: %v", err)
	}
}

func TestClientRunsAContainer(t *testing.T) {
	t.Parallel()
	f := &fake{wait: make(chan container.WaitResponse, 1), attached: func(_ context.Context, conn Conn) {
		in, _ := io.ReadAll(conn) // until the client ends its stdin
		_, _ = conn.Write(append([]byte{1, 0, 0, 0, 0, 0, 0, byte(len(in))}, in...))
		_, _ = conn.Write([]byte{2, 0, 0, 0, 0, 0, 0, 3, 'e', 'r', 'r'})
	}}
	_, c, _ := serveFake(t, f)
	ctx := limit(t)
	created, err := c.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: "web", Config: &container.Config{Image: "busybox", Cmd: []string{"cat"}},
		HostConfig: &container.HostConfig{Isolation: "vm"},
	})
	if err != nil || created.ID != "1" {
		t.Fatalf("create: %+v, %v", created, err)
	}
	if f.create.Name != "web" || f.create.Config.Image != "busybox" || f.create.HostConfig.Isolation != "vm" || f.create.Networking == nil {
		t.Errorf("engine got %+v", f.create)
	}
	att, err := c.ContainerAttach(ctx, "web", client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	wait := c.ContainerWait(ctx, "web", client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := c.ContainerStart(ctx, "web", client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
	if mediaType, _ := att.MediaType(); mediaType != "application/vnd.docker.multiplexed-stream" {
		t.Errorf("media type %q", mediaType)
	}
	if _, err := att.Conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := att.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errOut, att.Reader); err != nil || out.String() != "hello" || errOut.String() != "err" {
		t.Errorf("output %q, %q, %v", out.String(), errOut.String(), err)
	}
	f.wait <- container.WaitResponse{StatusCode: 42}
	select {
	case r := <-wait.Result:
		if r.StatusCode != 42 {
			t.Errorf("status %d", r.StatusCode)
		}
	case err := <-wait.Error:
		t.Error(err)
	}
}

func TestClientContainerCalls(t *testing.T) {
	t.Parallel()
	f := &fake{}
	_, c, _ := serveFake(t, f)
	ctx, ten := limit(t), 10
	for _, test := range []struct {
		want string
		call func() error
	}{
		{"stop web SIGINT 10", func() error {
			_, err := c.ContainerStop(ctx, "web", client.ContainerStopOptions{Signal: "SIGINT", Timeout: &ten})
			return err
		}},
		{"stop web  nil", func() error { _, err := c.ContainerStop(ctx, "web", client.ContainerStopOptions{}); return err }},
		{"restart web  10", func() error {
			_, err := c.ContainerRestart(ctx, "web", client.ContainerRestartOptions{Timeout: &ten})
			return err
		}},
		{`top web "-o pid"`, func() error {
			_, err := c.ContainerTop(ctx, "web", client.ContainerTopOptions{Arguments: []string{"-o", "pid"}})
			return err
		}},
		{"stats web {Stream:false OneShot:true}", func() error {
			_, err := c.ContainerStats(ctx, "web", client.ContainerStatsOptions{})
			return err
		}},
		{"stats web {Stream:false OneShot:false}", func() error {
			_, err := c.ContainerStats(ctx, "web", client.ContainerStatsOptions{IncludePreviousSample: true})
			return err
		}},
		{"prune map[label:map[a=b:true]]", func() error {
			r, err := c.ContainerPrune(ctx, client.ContainerPruneOptions{Filters: client.Filters{}.Add("label", "a=b")})
			if err == nil && (r.Report.SpaceReclaimed != 7 || len(r.Report.ContainersDeleted) != 1) {
				t.Errorf("pruned %+v", r.Report)
			}
			return err
		}},
		{"pause web", func() error { _, err := c.ContainerPause(ctx, "web", client.ContainerPauseOptions{}); return err }},
		{"update web memory=1048576 pids=unchanged restart=no", func() error {
			_, err := c.ContainerUpdate(ctx, "web", client.ContainerUpdateOptions{
				Resources: &container.Resources{Memory: 1 << 20}, RestartPolicy: &container.RestartPolicy{Name: "no"},
			})
			return err
		}},
		{"unpause web", func() error { _, err := c.ContainerUnpause(ctx, "web", client.ContainerUnpauseOptions{}); return err }},
		{"kill web TERM", func() error {
			_, err := c.ContainerKill(ctx, "web", client.ContainerKillOptions{Signal: "TERM"})
			return err
		}},
		{"rename web db", func() error {
			_, err := c.ContainerRename(ctx, "web", client.ContainerRenameOptions{NewName: "db"})
			return err
		}},
		{"resize web 24 80", func() error {
			_, err := c.ContainerResize(ctx, "web", client.ContainerResizeOptions{Height: 24, Width: 80})
			return err
		}},
		{"rm web true true", func() error {
			_, err := c.ContainerRemove(ctx, "web", client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			return err
		}},
		{"ps true 3 true map[label:map[a=b:true]]", func() error {
			_, err := c.ContainerList(ctx, client.ContainerListOptions{All: true, Limit: 3, Size: true, Filters: client.Filters{}.Add("label", "a=b")})
			return err
		}},
		{"inspect web true", func() error {
			_, err := c.ContainerInspect(ctx, "web", client.ContainerInspectOptions{Size: true})
			return err
		}},
		{"images true map[]", func() error { _, err := c.ImageList(ctx, client.ImageListOptions{All: true}); return err }},
		{"image local/app:1", func() error { _, err := c.ImageInspect(ctx, "local/app:1"); return err }},
		{"tag sha256:1 local/app 2", func() error {
			_, err := c.ImageTag(ctx, client.ImageTagOptions{Source: "sha256:1", Target: "local/app:2"})
			return err
		}},
		{"rmi local/app:2 true true", func() error {
			_, err := c.ImageRemove(ctx, "local/app:2", client.ImageRemoveOptions{Force: true})
			return err
		}},
	} {
		if err := test.call(); err != nil {
			t.Errorf("%s: %v", test.want, err)
		}
		if got := f.last(); got != test.want {
			t.Errorf("engine was asked %q, want %q", got, test.want)
		}
	}
}

func TestClientMovesImages(t *testing.T) {
	t.Parallel()
	f := &fake{}
	_, c, _ := serveFake(t, f)
	ctx := limit(t)
	auth := base64.URLEncoding.EncodeToString([]byte(`{"username":"u","password":"p?>"}`))
	pulled, err := c.ImagePull(ctx, "busybox", client.ImagePullOptions{RegistryAuth: auth})
	if err != nil {
		t.Fatal(err)
	}
	if err := pulled.Wait(ctx); err != nil {
		t.Error(err)
	}
	if f.last() != "pull busybox:latest <nil>" || f.auth == nil || f.auth.Password != "p?>" {
		t.Errorf("engine was asked %q with %+v", f.last(), f.auth)
	}
	if _, err := c.ImagePull(ctx, "gone", client.ImagePullOptions{}); !errdefs.IsNotFound(err) {
		t.Errorf("pull of what is not there: %v", err)
	}
	late, err := c.ImagePull(ctx, "broken:later", client.ImagePullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := late.Wait(ctx); err == nil || !strings.Contains(err.Error(), "reading the layer") {
		t.Errorf("an error after the first message: %v", err)
	}
	body := bytes.Repeat([]byte("x"), 3<<20)
	loaded, err := c.ImageLoad(ctx, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(loaded)
	if err != nil || !strings.Contains(string(answer), "Loaded image: busybox:latest") || !strings.Contains(string(answer), "Loading layer") {
		t.Errorf("load: %q, %v", answer, err)
	}
	if !bytes.Equal(f.body, body) {
		t.Errorf("engine read %d bytes, %v", len(f.body), f.bodyErr)
	}
	imported, err := c.ImageImport(ctx, client.ImageImportSource{Source: strings.NewReader("tar"), SourceName: "-"}, "local/app:1", client.ImageImportOptions{Message: "m", Changes: []string{"CMD sh", "ENV a=b"}})
	if err != nil {
		t.Fatal(err)
	}
	answer, err = io.ReadAll(imported)
	if err != nil || string(answer) != `{"status":"sha256:1234"}`+"\n" || f.last() != `import local/app:1 "m" ["CMD sh" "ENV a=b"]` {
		t.Errorf("import: %q, %v, %s", answer, err, f.last())
	}
}

// TestRefusedUpload checks that a client which still sends gets the answer, not
// a broken pipe.
func TestRefusedUpload(t *testing.T) {
	t.Parallel()
	_, c, _ := serveFake(t, &fake{err: errdefs.ErrInvalidArgument.WithMessage("this is no archive")})
	_, err := c.ImageLoad(limit(t), bytes.NewReader(make([]byte, 20<<20)))
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "this is no archive") {
		t.Errorf("load: %v", err)
	}
}

func TestClientReadsLogs(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 60, time.UTC)
	lines := func() []LogLine {
		return []LogLine{{Stream: "stdout", Time: at, Data: []byte("one\n")}, {Stream: "stderr", Time: at, Data: []byte("two ")}, {Stream: "stderr", Time: at, Data: []byte("halves\n")}}
	}
	f := &fake{logs: &fakeLogs{lines: lines()}}
	_, c, _ := serveFake(t, f)
	r, err := c.ContainerLogs(limit(t), "web", client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Tail: "5", Since: "10"})
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errOut, r); err != nil {
		t.Fatal(err)
	}
	const stamp = "2026-01-02T03:04:05.000000060Z "
	if out.String() != stamp+"one\n" || errOut.String() != stamp+"two halves\n" {
		t.Errorf("logs %q, %q", out.String(), errOut.String())
	}
	if !strings.Contains(f.last(), "Tail:5") {
		t.Errorf("engine was asked %q", f.last())
	}

	f.logs = &fakeLogs{lines: lines(), tty: true, live: true}
	ctx, cancel := context.WithCancel(limit(t))
	r, err = c.ContainerLogs(ctx, "web", client.ContainerLogsOptions{ShowStdout: true, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("one\ntwo halves\n"))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "one\ntwo halves\n" {
		t.Errorf("followed log of a terminal: %q, %v", got, err)
	}
	cancel()

	f.logs = &fakeLogs{lines: lines()[:1], err: errors.New("the disk is gone")}
	r, err = c.ContainerLogs(limit(t), "web", client.ContainerLogsOptions{ShowStdout: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stdcopy.StdCopy(io.Discard, io.Discard, r); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("a log that breaks off: %v", err)
	}
}
