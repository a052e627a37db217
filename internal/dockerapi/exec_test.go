package dockerapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

func TestClientExecs(t *testing.T) {
	t.Parallel()
	f := &fake{attached: func(_ context.Context, conn Conn) {
		in, _ := io.ReadAll(conn)
		_, _ = conn.Write(append([]byte{1, 0, 0, 0, 0, 0, 0, byte(len(in))}, in...))
	}}
	_, c, _ := serveFake(t, f)
	ctx := limit(t)
	if _, err := c.ExecCreate(ctx, "nobody", client.ExecCreateOptions{Cmd: []string{"ls"}}); !errdefs.IsNotFound(err) {
		t.Errorf("in a container that is not there: %v", err)
	}
	created, err := c.ExecCreate(ctx, "web", client.ExecCreateOptions{Cmd: []string{"ls", "-l"}, AttachStdout: true})
	if err != nil || created.ID != "e1" {
		t.Fatalf("create: %+v, %v", created, err)
	}
	if got := f.last(); got != `exec web ["ls" "-l"] tty=false size=<nil> stdout=true` {
		t.Errorf("the engine was asked %q", got)
	}
	att, err := c.ExecAttach(ctx, "e1", client.ExecAttachOptions{})
	if err != nil {
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
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, io.Discard, att.Reader); err != nil || out.String() != "hello" {
		t.Errorf("output %q, %v", out.String(), err)
	}
	if _, err := c.ExecStart(ctx, "e1", client.ExecStartOptions{Detach: true}); err != nil || f.last() != "exec start e1 detach=true tty=false size=<nil>" {
		t.Errorf("detached: %v, the engine was asked %q", err, f.last())
	}
	if _, err := c.ExecResize(ctx, "e1", client.ExecResizeOptions{Height: 24, Width: 80}); err != nil || f.last() != "exec resize e1 24 80" {
		t.Errorf("resize: %v, the engine was asked %q", err, f.last())
	}
	if r, err := c.ExecInspect(ctx, "e1", client.ExecInspectOptions{}); err != nil || r.ID != "e1" {
		t.Errorf("inspect: %+v, %v", r, err)
	}
}

// A terminal's first size is taken from clients that know of it.
func TestExecConsoleSize(t *testing.T) {
	t.Parallel()
	f := &fake{}
	_, _, api := serveFake(t, f)
	for path, want := range map[string]string{
		"/v1.41/containers/web/exec": `exec web ["ls"] tty=true size=<nil> stdout=false`,
		"/v1.42/containers/web/exec": `exec web ["ls"] tty=true size=&[24 80] stdout=false`,
	} {
		r, _ := http.NewRequest("POST", path, strings.NewReader(`{"Cmd":"ls","Tty":true,"ConsoleSize":[24,80]}`))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if w.Code != http.StatusCreated || f.last() != want {
			t.Errorf("%s: status %d, the engine was asked %q, want %q", path, w.Code, f.last(), want)
		}
	}
}
