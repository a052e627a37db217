package image

import (
	"bytes"
	"testing"

	"github.com/containerd/errdefs"
)

func TestLoadListRemove(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	layer := tarOf(t, dir("etc/"), file("etc/hello", "hello\n"))
	config := configOf(t, layer)
	loaded, err := s.Load(t.Context(), bytes.NewReader(dockerArchive(t, []string{"hello:1"}, config, layer)), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded) != 1 || loaded[0].Name != "hello:1" {
		t.Fatalf("loaded %v", loaded)
	}
	img := must(s.Resolve(t.Context(), "hello:1"))(t)
	if img.ID != loaded[0].ID || len(img.Layers) != 1 || img.Config.Config.Cmd[0] != "sh" {
		t.Fatalf("resolved %+v", img)
	}
	if _, err := s.Resolve(t.Context(), "hello"); !errdefs.IsNotFound(err) || err.Error() != "No such image: hello:latest" {
		t.Fatalf("resolving an unknown tag: %v", err)
	}
	if _, err := s.Remove(t.Context(), "hello:1", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if l := must(s.List(t.Context()))(t); len(l) != 0 {
		t.Fatalf("images after removal: %v", l)
	}
	if l := s.layers.list(); len(l) != 0 {
		t.Fatalf("layers after removal: %v", l)
	}
}
