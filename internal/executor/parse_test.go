package executor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestParseOptions(t *testing.T) {
	t.Parallel()
	o := parseOptions([]string{"ro", "nosuid", "rw", "lowerdir=a:b", "", "index=off"})
	if o.flags != mountFlags["nosuid"] || o.data() != "lowerdir=a:b,index=off" {
		t.Errorf("flags %#x, data %q", o.flags, o.data())
	}
}

func FuzzOverlayOptions(f *testing.F) {
	f.Add("lowerdir=l/1:l/0\nupperdir=rw/u\nworkdir=rw/w\nindex=off")
	f.Add("lowerdir=")
	f.Fuzz(func(t *testing.T, text string) {
		o := parseOptions(strings.Split(strings.ReplaceAll(text, ",", ""), "\n")) // mount(2) has no way to quote a comma
		d, err := parseOverlay(o)
		if err != nil {
			return
		}
		again, err := parseOverlay(options{values: strings.Split(d.data(), ",")})
		if err != nil || strings.Join(again.lower, ":") != strings.Join(d.lower, ":") {
			t.Errorf("%q: %v became %v, %v", text, d, again, err)
		}
	})
}

func FuzzReadSpec(f *testing.F) {
	f.Add([]byte(`{"process":{"args":["x"],"cwd":"/"},"root":{"path":"rootfs"},"linux":{},"mounts":[{"type":"bind","source":"a"}]}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`nothing`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		spec, err := readSpec(dir)
		if err != nil {
			return
		}
		if !filepath.IsAbs(spec.Root.Path) {
			t.Errorf("the root %q is relative", spec.Root.Path)
		}
		_, _ = newProcess(spec.Process)
	})
}

func TestReadSpecMakesPathsAbsolute(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, err := json.Marshal(&specs.Spec{
		Process: &specs.Process{}, Root: &specs.Root{Path: "rootfs"}, Linux: &specs.Linux{},
		Mounts: []specs.Mount{
			{Destination: "/a", Source: "files/a", Options: []string{"rbind"}},
			{Destination: "/b", Source: "/files/b", Type: "bind"},
			{Destination: "/c", Source: "tmpfs", Type: "tmpfs"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	spec, err := readSpec(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{filepath.Join(dir, "files/a"), "/files/b", "tmpfs"} {
		if got := spec.Mounts[i].Source; got != want {
			t.Errorf("mount %d from %s, want %s", i, got, want)
		}
	}
	if want := filepath.Join(dir, "rootfs"); spec.Root.Path != want {
		t.Errorf("root %s, want %s", spec.Root.Path, want)
	}
}

func FuzzMergeResources(f *testing.F) {
	f.Add([]byte(`{"memory":{"limit":-1}}`))
	f.Add([]byte(`{"pids":{"limit":5},"cpu":{"shares":2}}`))
	f.Add([]byte(`{"memory":null}`))
	f.Fuzz(func(t *testing.T, change []byte) {
		limit := int64(100)
		old := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
		_, err := mergeResources(old, change)
		if *old.Memory.Limit != 100 || old.Memory.Swap != nil {
			t.Error("the old resources changed")
		}
		if err == nil && !json.Valid(change) {
			t.Errorf("took %q", change)
		}
	})
}

func TestMergeResources(t *testing.T) {
	t.Parallel()
	limit, pids := int64(100), int64(7)
	old := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}, Pids: &specs.LinuxPids{Limit: &pids}}
	got, err := mergeResources(old, []byte(`{"memory":{"reservation":50},"cpu":{"cpus":"0"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if *got.Memory.Limit != 100 || *got.Memory.Reservation != 50 || *got.Pids.Limit != 7 || got.CPU.Cpus != "0" {
		t.Errorf("merged into %+v", got)
	}
	got, err = mergeResources(old, []byte(`{"memory":{"limit":-1}}`))
	if err != nil {
		t.Fatal(err)
	}
	if *got.Memory.Limit != -1 || *got.Memory.Swap != -1 {
		t.Errorf("memory limit %d, swap limit %d, want both gone", *got.Memory.Limit, *got.Memory.Swap)
	}
}
