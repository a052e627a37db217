package image

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
)

func TestCommit(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	base, err := s.Import(t.Context(), bytes.NewReader(tarOf(t, dir("etc/"), file("etc/a", "1"))), ImportOptions{Ref: "base"})
	if err != nil {
		t.Fatal(err)
	}
	var cfg dockerspec.DockerOCIImageConfig
	cfg.Cmd = []string{"run"}
	layer := tarOf(t, file("etc/.wh.a", ""), file("b", "2"))
	opts := CommitOptions{Base: base.ID, Config: cfg, Ref: "new:1", Author: "me", Comment: "why", CreatedBy: "sh"}
	img, err := s.Commit(t.Context(), bytes.NewReader(layer), opts)
	if err != nil {
		t.Fatal(err)
	}
	last := img.Config.History[len(img.Config.History)-1]
	if len(img.Layers) != 2 || img.Layers[0].ChainID != base.Layers[0].ChainID || img.Layers[1].DiffID != digest.FromBytes(layer) || img.Layers[1].Size == 0 ||
		!slices.Equal(img.Names, []string{"new:1"}) || img.Config.Author != "me" || img.Config.OS != base.Config.OS || img.Config.Architecture != base.Config.Architecture ||
		last.Comment != "why" || last.CreatedBy != "sh" || last.EmptyLayer || len(img.Config.History) != 2 || !slices.Equal(img.Config.Config.Cmd, []string{"run"}) {
		t.Errorf("committed %+v", img)
	}
	// It lives on without its base.
	if _, err := s.Remove(t.Context(), "base", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if img, err = s.Resolve(t.Context(), "new:1"); err != nil || img.Layers[0].Size == 0 {
		t.Errorf("%+v, %v", img, err)
	}
	if _, err := s.Commit(t.Context(), bytes.NewReader(layer), opts); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "was removed") {
		t.Errorf("without its base: %v", err)
	}
}

// Nothing changed is no layer, as docker has it.
func TestCommitOfNothing(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	base, err := s.Import(t.Context(), bytes.NewReader(tarOf(t, file("a", "1"))), ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	img, err := s.Commit(t.Context(), bytes.NewReader(tarOf(t)), CommitOptions{Base: base.ID})
	if err != nil || len(img.Layers) != 1 || !img.Config.History[1].EmptyLayer || img.ID == base.ID {
		t.Errorf("%+v, %v", img, err)
	}
}

// A guest's layer goes through the checks that any goes through, and what fails
// leaves nothing.
func TestCommitRefused(t *testing.T) {
	t.Parallel()
	broken := errors.New("the guest is gone")
	whole := tarOf(t, file("x", strings.Repeat("x", 5000)))
	for title, c := range map[string]struct {
		layer io.Reader
		ref   string
		want  string
	}{
		"text":      {strings.NewReader(strings.Repeat("text\n", 500)), "", "not a tar archive"},
		"cut off":   {bytes.NewReader(whole[:3000]), "", "ends inside"},
		"climbing":  {bytes.NewReader(tarOf(t, file("../x", ""))), "", "climbs out"},
		"bad name":  {bytes.NewReader(whole), "A", "no image reference"},
		"broken":    {io.MultiReader(bytes.NewReader(whole[:3000]), brokenReader{broken}), "", broken.Error()},
		"not ended": {io.MultiReader(bytes.NewReader(whole), brokenReader{broken}), "", broken.Error()},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			s := openStore(t)
			base, err := s.Import(t.Context(), bytes.NewReader(tarOf(t, file("a", "1"))), ImportOptions{Ref: "base"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Commit(t.Context(), c.layer, CommitOptions{Base: base.ID, Ref: c.ref}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got: %v\nwant: %s", err, c.want)
			}
			if _, err := s.Remove(t.Context(), "base", RemoveOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := s.Collect(t.Context()); err != nil {
				t.Fatal(err)
			}
			isEmpty(t, s)
		})
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

func TestApplyChangesAsCommitDoes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lines           []string
		cmd, entrypoint []string
	}{
		{[]string{`ENTRYPOINT ["e"]`}, nil, []string{"e"}},
		{[]string{`CMD ["c"]`, `ENTRYPOINT ["e"]`}, []string{"c"}, []string{"e"}},
		{[]string{`ENTRYPOINT ["e"]`, `CMD ["c"]`}, []string{"c"}, []string{"e"}},
		{[]string{`USER x`}, []string{"old"}, nil},
	} {
		var cfg dockerspec.DockerOCIImageConfig
		cfg.Cmd = []string{"old"}
		if err := ApplyChanges(&cfg, c.lines); err != nil || !slices.Equal(cfg.Cmd, c.cmd) || !slices.Equal(cfg.Entrypoint, c.entrypoint) {
			t.Errorf("%q: %q %q, %v", c.lines, cfg.Cmd, cfg.Entrypoint, err)
		}
	}
}
