package image

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	goerofs "github.com/erofs/go-erofs"
)

// TestImpliedDirectories has a layer that names directories only as part of
// longer paths: they are as the layers below have them.
func TestImpliedDirectories(t *testing.T) {
	t.Parallel()
	sticky := dir("tmp/")
	sticky.Mode = 0o1777
	lib := entry{tar.Header{Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "usr/lib", Mode: 0o777}, ""}
	base := tarOf(t, sticky, dir("usr/"), dir("usr/lib/"), lib, dir("gone/"), dir("secret/"))
	private := dir("secret/")
	private.Mode = 0o700
	middle := tarOf(t, file(".wh.gone", ""), private)
	top := tarOf(t, file("tmp/x", "x"), file("lib/y", "y"), file("gone/z", "z"), file("secret/s", "s"))
	s := openStore(t)
	must(s.Load(t.Context(), bytes.NewReader(dockerArchive(t, []string{"a:1"}, configOf(t, base, middle, top), base, middle, top)), LoadOptions{}))(t)
	f := must(os.Open(must(s.Resolve(t.Context(), "a:1"))(t).Layers[2].File))(t)
	defer f.Close()
	img := must(goerofs.Open(f))(t)
	for name, want := range map[string]fs.FileMode{
		"tmp": fs.ModeDir | fs.ModeSticky | 0o777, "gone": fs.ModeDir | 0o755, "secret": fs.ModeDir | 0o700, "usr/lib/y": 0o644,
	} {
		fi := must(fs.Stat(img, name))(t)
		if got := fi.Sys().(*goerofs.Stat).Mode; got != want {
			t.Errorf("%s has the mode %v, want %v", name, got, want)
		}
	}
}

// TestRemoveDuringPull removes an image while others pull it.
func TestRemoveDuringPull(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	ref := host + "/app:latest"
	push(t, ref, gzipImage(t, "amd64", tarOf(t, file("a", "a")), tarOf(t, file("b", "b"))))
	s := openStore(t)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 5 {
				if _, err := s.Pull(t.Context(), ref, PullOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 5 {
				if _, err := s.Remove(t.Context(), ref, RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, img := range must(s.List(t.Context()))(t) {
		for _, l := range img.Layers {
			if l.Size == 0 {
				t.Errorf("%s lacks the layer %s", img.ID, l.ChainID)
			}
		}
		must(s.Remove(t.Context(), img.ID.String(), RemoveOptions{Force: true}))(t)
	}
	if err := s.Collect(t.Context()); err != nil {
		t.Error(err)
	}
	isEmpty(t, s)
}
