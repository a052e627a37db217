package executor_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	erofs "github.com/erofs/go-erofs"

	"bothy/internal/executortest"
)

// makeErofs packs a directory.
func makeErofs(t *testing.T, dir, image string) {
	t.Helper()
	out, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := erofs.Create(out)
	if err := w.CopyFrom(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// layered makes a bundle of two EROFS layers and a writable one; below is put
// between the two, as mount options that name more of the lower one.
func layered(t *testing.T, f *fixture, id string, between []string) *taskapi.CreateTaskRequest {
	t.Helper()
	base, top := t.TempDir(), t.TempDir()
	makeRootfs(t, base)
	if err := os.WriteFile(filepath.Join(top, "from-top"), []byte("top\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(top, 0o711); err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(f.dir, id)
	if err := os.MkdirAll(bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	makeErofs(t, base, filepath.Join(bundle, "base.erofs"))
	makeErofs(t, top, filepath.Join(bundle, "top.erofs"))
	spec := executortest.DefaultSpec()
	spec.Process.Args = []string{"/bin/sh", "-c", "cat /from-top; echo new > /new; cat /new; stat -c %a /; test -e /bin/ls && echo base"}
	spec.Linux.CgroupsPath = cgroupPath(id)
	writeSpec(t, bundle, spec)
	lower := strings.Join(append(append([]string{"l/1"}, between...), "l/0"), ":")
	return &taskapi.CreateTaskRequest{ID: id, Bundle: bundle, Rootfs: []*types.Mount{
		{Type: "erofs", Source: "base.erofs", Target: "l/0", Options: []string{"ro"}},
		{Type: "erofs", Source: "top.erofs", Target: "l/1", Options: []string{"ro"}},
		{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + lower, "upperdir=rw/upper", "workdir=rw/work"}},
	}}
}

func TestLayers(t *testing.T) {
	f := newFixture(t)
	t.Run("Few", func(t *testing.T) { testLayers(t, f, "few", nil) })
	t.Run("Volatile", func(t *testing.T) {
		testLayers(t, f, "volatile", nil, "volatile")
		testLayers(t, f, "volatile", nil, "volatile") // which the kernel alone would refuse
	})
	t.Run("Many", func(t *testing.T) { testLayers(t, f, "many", emptyLayers(t, f, "many", 120, 2)) })
	t.Run("LongNames", func(t *testing.T) { testLayers(t, f, "long", emptyLayers(t, f, "long", 120, 80)) })
}

// emptyLayers makes directories with names of a length in a bundle.
func emptyLayers(t *testing.T, f *fixture, id string, n, length int) []string {
	t.Helper()
	var names []string
	for i := range n {
		name := fmt.Sprintf("e/%0*d", length, i)
		if err := os.MkdirAll(filepath.Join(f.dir, id, name), 0o755); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func testLayers(t *testing.T, f *fixture, id string, between []string, options ...string) {
	ctx := t.Context()
	r := layered(t, f, id, between)
	overlay := r.Rootfs[len(r.Rootfs)-1]
	overlay.Options = append(overlay.Options, options...)
	st := f.stdio(false)
	r.Stdout, r.Stderr = st.Stdout, st.Stderr
	out, errOut := readAll(st.Out), readAll(st.Err)
	if _, err := f.service.Create(ctx, r); err != nil {
		t.Fatal(err)
	}
	if _, err := f.service.Start(ctx, &taskapi.StartRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	w, err := f.service.Wait(ctx, &taskapi.WaitRequest{ID: id})
	if err != nil || w.ExitStatus != 0 {
		t.Fatalf("Wait: %v, %v; stderr %q", w, err, <-errOut)
	}
	if got, want := <-out, "top\nnew\n711\nbase\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
	if data, err := os.ReadFile(filepath.Join(r.Bundle, "rw/upper/new")); err != nil || string(data) != "new\n" {
		t.Errorf("the writable side has %q, %v", data, err)
	}
	if _, err := f.service.Delete(ctx, &taskapi.DeleteRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	if left := f.Leftovers(t, id); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestBadMountsLeaveNothing(t *testing.T) {
	f := newFixture(t)
	good := layered(t, f, "bad", nil).Rootfs
	for name, c := range map[string]struct {
		mounts []*types.Mount
		kind   error
	}{
		"missing image": {[]*types.Mount{good[0], {Type: "erofs", Source: "none.erofs"}}, errdefs.ErrInternal},
		"climbing out":  {[]*types.Mount{{Type: "erofs", Source: "base.erofs", Target: "../x"}, good[2]}, errdefs.ErrInvalidArgument},
		"unknown type":  {[]*types.Mount{good[0], {Type: "nfs", Source: "x"}}, errdefs.ErrInvalidArgument},
		"no lowerdir":   {[]*types.Mount{good[0], {Type: "overlay"}}, errdefs.ErrInvalidArgument},
		"no workdir":    {[]*types.Mount{good[0], {Type: "overlay", Options: []string{"lowerdir=l/0", "upperdir=u"}}}, errdefs.ErrInvalidArgument},
		"bind option":   {[]*types.Mount{{Type: "bind", Source: "l", Options: []string{"size=1"}}}, errdefs.ErrInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.service.Create(t.Context(), &taskapi.CreateTaskRequest{ID: "bad", Bundle: filepath.Join(f.dir, "bad"), Rootfs: c.mounts})
			if !errors.Is(err, c.kind) {
				t.Errorf("error %v, want kind %v", err, c.kind)
			}
			if left := f.Leftovers(t, "bad"); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
