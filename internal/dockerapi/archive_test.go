package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

func (f *fake) StatPath(_ context.Context, ref, path string) (*container.PathStat, error) {
	if err := f.find(ref); err != nil {
		return nil, err
	}
	if path == "/none" {
		return nil, fmt.Errorf("Could not find the file %s in container %s: %w", path, ref, errdefs.ErrNotFound)
	}
	return &container.PathStat{Name: "d", Size: 7, Mode: os.ModeDir | 0o755, Mtime: time.Unix(1, 0), LinkTarget: "/x"}, f.call("stat %s %s", ref, path)
}

func (f *fake) ArchivePath(ctx context.Context, ref, path string) (io.ReadCloser, *container.PathStat, error) {
	st, err := f.StatPath(ctx, ref, path)
	if err != nil {
		return nil, nil, err
	}
	return io.NopCloser(f.archive(path)), st, nil
}

// archive begins with an error for "/early" and ends with one for "/late".
func (f *fake) archive(path string) io.Reader {
	broken := brokenReader{fmt.Errorf("the guest is gone: %w", errdefs.ErrUnavailable)}
	switch path {
	case "/early":
		return broken
	case "/late":
		return io.MultiReader(strings.NewReader(strings.Repeat("x", 100<<10)), broken)
	}
	return strings.NewReader("archive of " + path)
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

func (f *fake) ExtractArchive(_ context.Context, ref, path string, req ExtractRequest, archive io.Reader) error {
	if path == "/ro" {
		return fmt.Errorf("container rootfs is marked read-only: %w", errdefs.ErrInvalidArgument)
	}
	if err := f.read(archive); err != nil {
		return err
	}
	return f.call("extract %s %s %+v", ref, path, req)
}

func (f *fake) ExportContainer(_ context.Context, ref string) (io.ReadCloser, error) {
	return io.NopCloser(f.archive("/")), f.call("export %s", ref)
}

func (f *fake) ContainerChanges(_ context.Context, ref string) ([]container.FilesystemChange, error) {
	return []container.FilesystemChange{{Kind: container.ChangeAdd, Path: "/a"}}, f.call("changes %s", ref)
}

func (f *fake) CommitContainer(_ context.Context, req CommitRequest) (string, error) {
	user := "none"
	if req.Config != nil {
		user = req.Config.User
	}
	return "sha256:1", f.call("commit %s as %s by %q: %q %q user %s pause %v", req.Container, req.Ref, req.Author, req.Comment, req.Changes, user, req.Pause)
}

func TestClientCopies(t *testing.T) {
	t.Parallel()
	f := &fake{}
	_, c, _ := serveFake(t, f)
	st, err := c.ContainerStatPath(limit(t), "web", client.ContainerStatPathOptions{Path: "/d"})
	if err != nil || st.Stat.Name != "d" || st.Stat.Mode != os.ModeDir|0o755 || st.Stat.LinkTarget != "/x" || st.Stat.Size != 7 {
		t.Errorf("%+v, %v", st, err)
	}
	if _, err := c.ContainerStatPath(limit(t), "web", client.ContainerStatPathOptions{Path: "/none"}); !errdefs.IsNotFound(err) {
		t.Errorf("%v", err)
	}
	from, err := c.CopyFromContainer(limit(t), "web", client.CopyFromContainerOptions{SourcePath: "/d"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(from.Content)
	if err != nil || string(got) != "archive of /d" || from.Stat.Name != "d" {
		t.Errorf("%q, %+v, %v", got, from.Stat, err)
	}
	_, err = c.CopyToContainer(limit(t), "web", client.CopyToContainerOptions{DestinationPath: "/d", Content: strings.NewReader("tar"), CopyUIDGID: true})
	if want := "extract web /d {NoOverwriteDirNonDir:true CopyUIDGID:true}"; err != nil || f.last() != want || string(f.body) != "tar" {
		t.Errorf("%q with %q, %v", f.last(), f.body, err)
	}
	_, err = c.CopyToContainer(limit(t), "web", client.CopyToContainerOptions{DestinationPath: "/ro", Content: strings.NewReader(strings.Repeat("x", 1<<20))})
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "container rootfs is marked read-only") {
		t.Errorf("%v", err)
	}
}

// A client must not take a part of an archive for the whole.
func TestBrokenArchive(t *testing.T) {
	t.Parallel()
	_, c, _ := serveFake(t, &fake{})
	if _, err := c.CopyFromContainer(limit(t), "web", client.CopyFromContainerOptions{SourcePath: "/early"}); !errdefs.IsUnavailable(err) {
		t.Errorf("%v", err)
	}
	late, err := c.CopyFromContainer(limit(t), "web", client.CopyFromContainerOptions{SourcePath: "/late"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(late.Content); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestClientExportsDiffsAndCommits(t *testing.T) {
	t.Parallel()
	f := &fake{}
	_, c, _ := serveFake(t, f)
	r, err := c.ContainerExport(limit(t), "web", client.ContainerExportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "archive of /" {
		t.Errorf("%q, %v", got, err)
	}
	diff, err := c.ContainerDiff(limit(t), "web", client.ContainerDiffOptions{})
	if err != nil || len(diff.Changes) != 1 || diff.Changes[0] != (container.FilesystemChange{Kind: 1, Path: "/a"}) {
		t.Errorf("%+v, %v", diff, err)
	}
	done, err := c.ContainerCommit(limit(t), "web", client.ContainerCommitOptions{
		Reference: "app", Author: "me", Comment: "why", Changes: []string{"USER x"}, Config: &container.Config{User: "u"}, NoPause: true,
	})
	if want := `commit web as app:latest by "me": "why" ["USER x"] user u pause false`; err != nil || done.ID != "sha256:1" || f.last() != want {
		t.Errorf("%+v, %q, %v", done, f.last(), err)
	}
}

func TestCommitRequests(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"":                         `201 commit web as  by "": "" [] user none pause true`,
		"null":                     `201 commit web as  by "": "" [] user none pause true`,
		`{"User":"a"}`:             `201 commit web as  by "": "" [] user a pause true`,
		`{"User":`:                 "400 ",
		strings.Repeat(" ", 5<<20): "413 ",
	} {
		f := &fake{}
		w := do(f, "POST", "/commit?container=web", body)
		if got := fmt.Sprint(w.Code, " ", f.last()); got != want {
			t.Errorf("%.20q: %s, want %s", body, got, want)
		}
	}
	for _, query := range []string{"?path=", "", "?path=a%00b"} {
		if w := do(&fake{}, "HEAD", "/containers/web/archive"+query, ""); w.Code != 400 {
			t.Errorf("%q: %d", query, w.Code)
		}
	}
}

func TestArchiveEncoding(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"": "", "identity": "", "gzip": "gzip", "deflate, gzip;q=0.5": "gzip", "gzip;q=0, deflate": "deflate", "br": "", "GZIP ; q=1": "gzip", "gzip;q=0.0": "",
	} {
		if got := acceptedEncoding(http.Header{"Accept-Encoding": {header}}.Values("Accept-Encoding")); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}
