package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"bothy/internal/engineapi"
	"bothy/internal/image"
	files "bothy/internal/rootfs"
	"bothy/internal/shimclient"
)

func (t fakeTask) attachFiles() (shimclient.Conn, bool, error) {
	client, server := net.Pipe()
	go func() {
		_ = files.Serve(context.Background(), server, server, rootDir(t.owner.files))
		server.Close()
	}()
	return pipeConn{client}, false, nil
}

// rootDir is a container's root with nothing changed.
type rootDir string

func (d rootDir) View() (*os.File, error) {
	fd, err := unix.Open(string(d), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return os.NewFile(uintptr(fd), string(d)), err
}
func (d rootDir) Root() (*os.File, error) { return d.View() }
func (d rootDir) Flush() error            { return nil }
func (d rootDir) Layers() (upper, lower *os.File, err error) {
	upper, err = d.View()
	if err != nil {
		return nil, nil, err
	}
	lower, err = d.View()
	return upper, lower, err
}

// withFiles is a rig whose containers all have one file, /f.
func withFiles(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.shims.files = t.TempDir()
	if err := os.WriteFile(filepath.Join(r.shims.files, "f"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFilesOfAContainer(t *testing.T) {
	t.Parallel()
	r := withFiles(t)
	r.create("web", container.HostConfig{})
	for _, running := range []bool{false, true} {
		if running {
			r.start("web")
		}
		st, err := r.StatPath(t.Context(), "web", "/f")
		if err != nil || st.Name != "f" || st.Size != 7 {
			t.Errorf("%+v, %v", st, err)
		}
		if _, err := r.StatPath(t.Context(), "web", "/none"); !errdefs.IsNotFound(err) || err.Error() != "Could not find the file /none in container web" {
			t.Errorf("%v", err)
		}
		archive, st, err := r.ArchivePath(t.Context(), "web", "f")
		if err != nil || st.Name != "f" {
			t.Fatal(st, err)
		}
		h, err := tar.NewReader(archive).Next()
		if err != nil || h.Name != "f" {
			t.Errorf("%+v, %v", h, err)
		}
		archive.Close()
		if err := r.ExtractArchive(t.Context(), "web", "/", engineapi.ExtractRequest{}, tarOf(t, "new", "x")); !expected(err) {
			t.Error(err)
		}
		if changes, err := r.ContainerChanges(t.Context(), "web"); err != nil || len(changes) != 0 {
			t.Errorf("%+v, %v", changes, err)
		}
		if n := r.shims.count(); n != 1 {
			t.Errorf("%d shims", n)
		}
	}
	if len(r.shims.swept) > 0 {
		t.Errorf("cleaned up by force: %v", r.shims.swept)
	}
}

// expected says that err is nil, or what is to be expected of a test without
// root's rights.
func expected(err error) bool {
	return err == nil || os.Getuid() != 0 && strings.Contains(err.Error(), "operation not permitted")
}

func tarOf(t *testing.T, name, content string) io.Reader {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644, Uid: os.Getuid(), Gid: os.Getgid()})
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return &buf
}

// A start waits for who reads, and for nobody who has read.
func TestStartWaitsForAReader(t *testing.T) {
	t.Parallel()
	r := withFiles(t)
	r.create("web", container.HostConfig{})
	archive, _, err := r.ArchivePath(t.Context(), "web", "/f")
	if err != nil {
		t.Fatal(err)
	}
	hasty, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.StartContainer(hasty, "web"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a start under a reader: %v", err)
	}
	started := make(chan error)
	go func() { started <- r.StartContainer(t.Context(), "web") }()
	archive.Close()
	if err := <-started; err != nil {
		t.Error(err)
	}
	if st := r.state("web"); !st.Running {
		t.Errorf("%+v", st)
	}
}

// A client that does not read holds nobody up for ever.
func TestStartTakesOverFromAStalledReader(t *testing.T) {
	t.Parallel()
	r := withFiles(t)
	r.create("web", container.HostConfig{})
	c, err := r.index.find("web")
	if err != nil {
		t.Fatal(err)
	}
	c.still.stall = 10 * time.Millisecond
	archive, _, err := r.ArchivePath(t.Context(), "web", "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if err := r.StartContainer(t.Context(), "web"); err != nil {
		t.Error(err)
	}
	if st := r.state("web"); !st.Running {
		t.Errorf("%+v", st)
	}
}

// Removing does not wait either, and leaves nothing.
func TestRemoveAfterReading(t *testing.T) {
	t.Parallel()
	r := withFiles(t)
	r.create("web", container.HostConfig{})
	if _, err := r.StatPath(t.Context(), "web", "/f"); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveContainer(t.Context(), "web", false, false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.StatPath(t.Context(), "web", "/f"); !errdefs.IsNotFound(err) {
		t.Errorf("%v", err)
	}
	r.clean()
}

// An engine that is closed takes its sessions along; one that dies leaves them to
// the next.
func TestEngineEndsSessions(t *testing.T) {
	t.Parallel()
	r := withFiles(t)
	r.create("web", container.HostConfig{})
	if _, err := r.StatPath(t.Context(), "web", "/f"); err != nil {
		t.Fatal(err)
	}
	r.crash()
	r.clean()
	r.open()
	if st := r.state("web"); st.Status != container.StateCreated {
		t.Errorf("%+v", st)
	}
}

func TestFilesCannotBeOpened(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"spawn", "create"} {
		r := withFiles(t)
		r.create("web", container.HostConfig{})
		r.shims.fail = step
		if _, err := r.StatPath(t.Context(), "web", "/f"); err == nil || !strings.Contains(err.Error(), "opening the files of container web") {
			t.Errorf("%s: %v", step, err)
		}
		r.clean()
		r.shims.fail = ""
		if _, err := r.StatPath(t.Context(), "web", "/f"); err != nil {
			t.Errorf("after %s: %v", step, err)
		}
	}
}

func TestCommitOptions(t *testing.T) {
	t.Parallel()
	rec := record{ImageID: "sha256:1", Config: &container.Config{
		Cmd: []string{"run", "it"}, Env: []string{"A=1"}, Labels: map[string]string{"l": "1"}, User: "u", Hostname: "h", Tty: true,
	}}
	for name, c := range map[string]struct {
		req  engineapi.CommitRequest
		want func(dockerspec.DockerOCIImageConfig) bool
	}{
		"as it is": {engineapi.CommitRequest{}, func(c dockerspec.DockerOCIImageConfig) bool {
			return slices.Equal(c.Cmd, []string{"run", "it"}) && c.User == "u" && c.Labels["l"] == "1"
		}},
		"changed": {engineapi.CommitRequest{Changes: []string{"USER v", "ENV A=2 B=3", `ENTRYPOINT ["e"]`, "LABEL m=2", "EXPOSE 80", "VOLUME /v", "WORKDIR /w", "STOPSIGNAL SIGINT"}}, func(c dockerspec.DockerOCIImageConfig) bool {
			_, exposed := c.ExposedPorts["80/tcp"]
			return c.User == "v" && slices.Equal(c.Env, []string{"A=2", "B=3"}) && c.Cmd == nil && slices.Equal(c.Entrypoint, []string{"e"}) &&
				len(c.Labels) == 2 && exposed && len(c.Volumes) == 1 && c.WorkingDir == "/w" && c.StopSignal == "SIGINT"
		}},
		"given": {engineapi.CommitRequest{Config: &container.Config{User: "w", Env: []string{"B=2"}}, Changes: []string{"ENV C=3"}}, func(c dockerspec.DockerOCIImageConfig) bool {
			return c.User == "w" && slices.Equal(slices.Sorted(slices.Values(c.Env)), []string{"A=1", "B=2", "C=3"}) && slices.Equal(c.Cmd, []string{"run", "it"})
		}},
	} {
		opts, err := commitOptions(rec, c.req)
		if err != nil || !c.want(opts.Config) || opts.Base != "sha256:1" || opts.CreatedBy != "run it" {
			t.Errorf("%s: %+v, %v", name, opts, err)
		}
	}
	if _, err := commitOptions(rec, engineapi.CommitRequest{Changes: []string{"RUN x"}}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

func (f *fakeImages) Commit(_ context.Context, layer io.Reader, opts image.CommitOptions) (*image.Image, error) {
	_, err := io.Copy(io.Discard, layer)
	img := f.img
	img.ID = opts.Base
	return &img, err
}

func TestCommitPauses(t *testing.T) {
	t.Parallel()
	r := withFiles(t)
	id := r.create("web", container.HostConfig{})
	r.start("web")
	got, err := r.CommitContainer(t.Context(), engineapi.CommitRequest{Container: id[:6], Pause: true, Ref: "x:1"})
	if err != nil || got != r.images.img.ID.String() {
		t.Errorf("%q, %v", got, err)
	}
	if st := r.state("web"); !st.Running || st.Paused {
		t.Errorf("%+v", st)
	}
}

// An archive that is refused is answered, whether its sender goes on or not.
func TestExtractArchiveThatStandsStill(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	rest, sender := io.Pipe()
	defer sender.Close()
	if err := r.ExtractArchive(t.Context(), "web", "/none", engineapi.ExtractRequest{}, io.MultiReader(&packed, rest)); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}
