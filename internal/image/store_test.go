package image

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// load puts an image of one layer with one file into the store.
func load(tb testing.TB, s *Store, body string, tags ...string) digest.Digest {
	tb.Helper()
	layer := tarOf(tb, dir("etc/"), file("etc/hello", body))
	loaded, err := s.Load(context.Background(), bytes.NewReader(dockerArchive(tb, tags, configOf(tb, layer), layer)), LoadOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return loaded[0].ID
}

func TestLoadListRemove(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	id := load(t, s, "hello", "hello:1")
	img := must(s.Resolve(t.Context(), "hello:1"))(t)
	if img.ID != id || len(img.Layers) != 1 || img.Config.Config.Cmd[0] != "sh" || img.Size == 0 {
		t.Fatalf("resolved %+v", img)
	}
	removed := must(s.Remove(t.Context(), "hello:1", RemoveOptions{}))(t)
	if want := []Removed{{Untagged: "hello:1"}, {Deleted: id.String()}}; !slices.Equal(removed, want) {
		t.Errorf("removed %v", removed)
	}
	isEmpty(t, s)
}

func TestResolve(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	id := load(t, s, "hello", "hello:latest")
	for _, ref := range []string{"hello", "hello:latest", "docker.io/library/hello", id.String(), id.Encoded(), id.Encoded()[:12], "sha256:" + id.Encoded()[:7]} {
		if img, err := s.Resolve(t.Context(), ref); err != nil || img.ID != id {
			t.Errorf("%s: %v", ref, err)
		}
	}
	for ref, want := range map[string]string{
		"nope":                                    "No such image: nope:latest",
		"hello:2":                                 "No such image: hello:2",
		"localhost:5000/x":                        "No such image: localhost:5000/x:latest",
		"sha256:" + strings.Repeat("0", 64):       "No such image: sha256:" + strings.Repeat("0", 64),
		"x@sha256:" + strings.Repeat("0", 64):     "No such image: x@sha256:" + strings.Repeat("0", 64),
		"x:tag@sha256:" + strings.Repeat("0", 64): "No such image: x@sha256:" + strings.Repeat("0", 64),
	} {
		if _, err := s.Resolve(t.Context(), ref); !errdefs.IsNotFound(err) || err.Error() != want {
			t.Errorf("%s: %v", ref, err)
		}
	}
	for _, ref := range []string{"", "A", "a b", ":tag", "../x", "x:" + strings.Repeat("t", 200)} {
		if _, err := s.Resolve(t.Context(), ref); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestTagMovesAndLeavesDangling(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	one := load(t, s, "one", "app:1")
	two := load(t, s, "two", "app:2")
	if err := s.Tag(t.Context(), "app:2", "app:1"); err != nil {
		t.Fatal(err)
	}
	if img := must(s.Resolve(t.Context(), "app:1"))(t); img.ID != two {
		t.Errorf("app:1 is %s", img.ID)
	}
	img := must(s.Resolve(t.Context(), one.String()))(t)
	if len(img.Names) != 0 {
		t.Errorf("the first image is still called %v", img.Names)
	}
	if l := must(s.List(t.Context()))(t); len(l) != 2 {
		t.Errorf("%d images", len(l))
	}
	if err := s.Tag(t.Context(), "nope", "x"); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	if err := s.Tag(t.Context(), "app:1", "x@"+one.String()); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

func TestRemoveRules(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	id := load(t, s, "one", "app:1", "app:2", "other:1")
	by := short(id)
	if _, err := s.Remove(t.Context(), by, RemoveOptions{}); !errdefs.IsConflict(err) ||
		err.Error() != "conflict: unable to delete "+by+" (must be forced) - image is referenced in multiple repositories" {
		t.Error(err)
	}
	used := RemoveOptions{InUse: func(digest.Digest) []string { return []string{"c1"} }}
	if got := must(s.Remove(t.Context(), "app:1", used))(t); !slices.Equal(got, []Removed{{Untagged: "app:1"}}) {
		t.Error(got)
	}
	must(s.Remove(t.Context(), "other:1", used))(t)
	if _, err := s.Remove(t.Context(), "app:2", used); !errdefs.IsConflict(err) ||
		err.Error() != `conflict: unable to remove repository reference "app:2" (must force) - container c1 is using its referenced image `+by {
		t.Error(err)
	}
	if _, err := s.Remove(t.Context(), by, used); !errdefs.IsConflict(err) ||
		err.Error() != "conflict: unable to delete "+by+" (must be forced) - image is being used by stopped container c1" {
		t.Error(err)
	}
	used.Running = used.InUse
	used.Force = true
	if _, err := s.Remove(t.Context(), by, used); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "cannot be forced") {
		t.Error(err)
	}
	used.Force = false
	if _, err := s.Remove(t.Context(), "app:2", used); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "(must force)") {
		t.Error(err)
	}
	used.Force = true
	if got := must(s.Remove(t.Context(), "app:2", used))(t); !slices.Equal(got, []Removed{{Untagged: "app:2"}}) {
		t.Error(got)
	}
	if img := must(s.Resolve(t.Context(), by))(t); len(img.Names) != 0 {
		t.Error("a running container's image has names after all were removed:", img.Names)
	}
	must(s.Remove(t.Context(), by, RemoveOptions{Force: true}))(t)
	isEmpty(t, s)
	if _, err := s.Remove(t.Context(), "app:2", RemoveOptions{}); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

func TestUsersKeepLayers(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	id := load(t, s, "one", "app:1")
	file := must(s.Resolve(t.Context(), "app:1"))(t).Layers[0].File
	there := func() bool { _, err := os.Stat(file); return err == nil }
	using := []digest.Digest{id}
	s.SetUsers(func(context.Context) ([]digest.Digest, error) { return using, nil })
	must(s.Remove(t.Context(), "app:1", RemoveOptions{Force: true}))(t)
	if !there() {
		t.Fatal("the layer of a used image is gone")
	}
	release := s.Hold(id)
	using = nil
	if err := s.Collect(t.Context()); err != nil || !there() {
		t.Fatal("the layer of a held image is gone", err)
	}
	release()
	release()
	if err := s.Collect(t.Context()); err != nil || there() {
		t.Fatal("the layer of an unused image is still there", err)
	}
	s.SetUsers(func(context.Context) ([]digest.Digest, error) { return nil, errors.New("ask later") })
	load(t, s, "two", "app:2")
	if _, err := s.Remove(t.Context(), "app:2", RemoveOptions{}); err == nil {
		t.Error("collected without knowing what is in use")
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s, err := Open(t.Context(), Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	id := load(t, s, "one", "app:1")
	if _, err := Open(t.Context(), Options{Root: root}); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second store on the same root: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStoreAt(t, root, Options{})
	if img := must(s.Resolve(t.Context(), "app:1"))(t); img.ID != id {
		t.Errorf("resolved %s", img.ID)
	}
}

func TestMissingLayerIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	load(t, s, "one", "app:1")
	file := must(s.Resolve(t.Context(), "app:1"))(t).Layers[0].File
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if l := must(s.List(t.Context()))(t); len(l) != 1 || l[0].Layers[0].Size != 0 {
		t.Errorf("listed %+v", l)
	}
	load(t, s, "one", "app:1")
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// TestAtOnce loads, tags, lists and removes the same images at the same time.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	layer := tarOf(t, file("shared", strings.Repeat("s", 1<<20)))
	archive := dockerArchive(t, []string{"app:1"}, configOf(t, layer), layer)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				if _, err := s.Load(t.Context(), bytes.NewReader(archive), LoadOptions{}); err != nil {
					t.Error(err)
				}
				if _, err := s.List(t.Context()); err != nil {
					t.Error(err)
				}
				if _, err := s.Remove(t.Context(), "app:1", RemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	isEmpty(t, s)
}

func FuzzReference(f *testing.F) {
	for _, r := range []string{"busybox", "localhost:5000/a/b:c", "x@sha256:" + strings.Repeat("a", 64), "sha256:abc", "", ":", "A"} {
		f.Add(r)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		named, err := parseName(ref)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%q: kind of %v", ref, err)
			}
			return
		}
		again, err := parseName(named.String())
		if err != nil || again.String() != named.String() {
			t.Errorf("%q becomes %q becomes %v (%v)", ref, named, again, err)
		}
		if familiarly, err := parseName(familiar(named.String())); err != nil || familiarly.String() != named.String() {
			t.Errorf("%q is shown as %q, which means %v (%v)", named, familiar(named.String()), familiarly, err)
		}
	})
}
