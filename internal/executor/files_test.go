package executor_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"golang.org/x/sys/unix"

	"bothy/internal/executor"
)

// in gives a path to a file beneath an open directory.
func in(dir *os.File, name string) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), name)
}

// A running container's view has what is mounted in it, whatever root its first
// process has given itself; its root file system and layers have not.
func TestFilesOfARunningContainer(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	r := layered(t, f, "files", nil)
	st := f.stdio(false)
	r.Stdout, r.Stderr = st.Stdout, st.Stderr
	readAll(st.Out)
	readAll(st.Err)
	if _, err := f.service.Create(ctx, r); err != nil {
		t.Fatal(err)
	}
	files, err := f.service.Files("files")
	if err != nil {
		t.Fatal(err)
	}
	view, err := files.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	root, err := files.Root()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := os.Stat(in(view, "proc/version")); err != nil {
		t.Errorf("the view has no /proc: %v", err)
	}
	if _, err := os.Stat(in(root, "proc/version")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the root file system has a /proc: %v", err)
	}
	upper, lower, err := files.Layers()
	if err != nil {
		t.Fatal(err)
	}
	defer upper.Close()
	defer lower.Close()
	if err := os.WriteFile(in(view, "written"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(in(upper, "written")); err != nil {
		t.Errorf("the writable side: %v", err)
	}
	if _, err := os.Stat(in(lower, "written")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the layers below: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(r.Bundle, "lower-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := f.service.Delete(ctx, &taskapi.DeleteRequest{ID: "files"}); err != nil {
		t.Fatal(err)
	}
}

// MountFiles shows what a container would see, and leaves nothing.
func TestMountFiles(t *testing.T) {
	f := newFixture(t)
	r := layered(t, f, "still", nil)
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "f"), []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := executor.FileMounts{
		Bundle: r.Bundle, Rootfs: r.Rootfs, ReadOnly: true,
		Binds: []executor.FileBind{
			{Source: source, Target: "/data/rw"}, {Source: source, Target: "/data/ro", ReadOnly: true},
			{Source: filepath.Join(source, "f"), Target: "/etc/file"}, {Source: filepath.Join(source, "none"), Target: "/none"},
		},
	}
	files, err := executor.MountFiles(m)
	if err != nil {
		t.Fatal(err)
	}
	view, err := files.View()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"data/rw/new": nil, "data/ro/new2": unix.EROFS, "new3": unix.EROFS, "etc/file": nil} {
		if err := os.WriteFile(in(view, name), []byte("x"), 0o600); !errors.Is(err, want) {
			t.Errorf("writing %s: %v, want %v", name, err, want)
		}
	}
	view.Close()
	files.Close()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), r.Bundle) {
		t.Errorf("still mounted: %s, %v", mounts, err)
	}
	if _, err := os.Stat(filepath.Join(source, "new")); err != nil {
		t.Error(err)
	}
	m.Rootfs = append([]*types.Mount{}, m.Rootfs...)
	m.Rootfs[0] = &types.Mount{Type: "erofs", Source: "none.erofs", Target: "l/0"}
	if _, err := executor.MountFiles(m); err == nil {
		t.Error("a layer that is not there was mounted")
	}
}
