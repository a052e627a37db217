package engine

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"

	"bothy/internal/engineapi"
	"bothy/internal/image"
)

func TestStatusText(t *testing.T) {
	t.Parallel()
	now := time.Unix(10_000, 0)
	at := func(seconds int) time.Time { return now.Add(-time.Duration(seconds) * time.Second) }
	for want, st := range map[string]status{
		"Created":                     {State: "created"},
		"Up 3 seconds":                {State: "running", StartedAt: at(3)},
		"Up 2 minutes (Paused)":       {State: "paused", StartedAt: at(120)},
		"Exited (0) 2 minutes ago":    {State: "exited", FinishedAt: at(120)},
		"Exited (137) 5 seconds ago":  {State: "exited", ExitCode: 137, FinishedAt: at(5)},
		"Dead":                        {State: "dead"},
		"Removal In Progress":         {State: "removing"},
		"Restarting (1) 1 second ago": {State: "restarting", ExitCode: 1, FinishedAt: at(1)},
	} {
		if got := statusText(st, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestRootfsMounts(t *testing.T) {
	t.Parallel()
	layers := []string{"/low", "/high"}
	line := func(vm, ephemeral bool) string {
		var lines []string
		for _, m := range rootfs(vm, ephemeral, layers, "/state") {
			lines = append(lines, fmt.Sprintf("%s %s at %q %s", m.Type, m.Source, m.Target, strings.Join(m.Options, ",")))
		}
		return strings.Join(lines, "\n")
	}
	if got, want := line(false, false), `erofs /low at "l/0" ro
erofs /high at "l/1" ro
overlay overlay at "" lowerdir=l/1:l/0,upperdir=/state/rw/upper,workdir=/state/rw/work`; got != want {
		t.Errorf("process:\n%s", got)
	}
	if got, want := line(true, true), `erofs /low at "l/0" ro
erofs /high at "l/1" ro
ext4 /state/disk.img at "rw" 
overlay overlay at "" lowerdir=l/1:l/0,upperdir=rw/upper,workdir=rw/work`; got != want {
		t.Errorf("vm:\n%s", got)
	}
	if got := line(false, true); !strings.HasSuffix(got, ",workdir=/state/rw/work,volatile") {
		t.Errorf("ephemeral process:\n%s", got)
	}
}

func TestMachineSize(t *testing.T) {
	t.Parallel()
	m := &machines{opts: Options{VM: VMOptions{Memory: 2 * gibibyte, CPUs: 4}}, hostMemory: 24*gibibyte + 5}
	for _, tc := range []struct{ limit, memory int64 }{
		{0, 2 * gibibyte},
		{6 * mebibyte, leastMachineMemory},
		{128 * mebibyte, 256 * mebibyte},
		{256 * mebibyte, 384 * mebibyte},
		{512 * mebibyte, 768 * mebibyte},
		{gibibyte, gibibyte + gibibyte/4},
		{gibibyte + 1, gibibyte + gibibyte/4},
		{2 * gibibyte, 2*gibibyte + gibibyte/2},
		{16 * gibibyte, 20 * gibibyte},
		{100 * gibibyte, 24 * gibibyte},
	} {
		r := container.Resources{Memory: tc.limit, NanoCPUs: 5e8}
		if memory, cpus := m.size(r); memory != tc.memory || cpus != 4 {
			t.Errorf("%d MiB: %d MiB and %d CPUs, want %d MiB and 4", tc.limit/mebibyte, memory/mebibyte, cpus, tc.memory/mebibyte)
		}
	}
}

// TestMachineShapes: a machine has at most half of its memory more than it
// needs, and there are few sizes.
func TestMachineShapes(t *testing.T) {
	t.Parallel()
	shapes := map[int64]bool{}
	for need := int64(leastMachineMemory); need < 64*gibibyte; need += 7 * mebibyte {
		shape := machineShape(need)
		if shape < need || shape > need+need/2 || shape%(128*mebibyte) != 0 || machineShape(shape) != shape {
			t.Errorf("%d MiB become %d", need/mebibyte, shape/mebibyte)
		}
		shapes[shape] = true
	}
	if len(shapes) > 30 {
		t.Errorf("%d sizes", len(shapes))
	}
}

func TestMachineUsersDiffer(t *testing.T) {
	t.Parallel()
	if a := machineUser("fffffff" + strings.Repeat("0", 57)); a != 0x7fffffff {
		t.Errorf("got %#x", a)
	}
	if a := machineUser("000000a" + strings.Repeat("0", 57)); a != 0x7000000a {
		t.Errorf("got %#x", a)
	}
}

func TestStartFailure(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		code int
		kind error
	}{
		{errors.New(`exec: "x": executable file not found in $PATH`), 127, errdefs.ErrInvalidArgument},
		{fmt.Errorf("exec: /x: %w", syscall.ENOENT), 127, errdefs.ErrInvalidArgument},
		{fmt.Errorf("exec: /x: %w", syscall.EACCES), 126, errdefs.ErrInvalidArgument},
		{fmt.Errorf("exec: /x: %w", syscall.EISDIR), 126, errdefs.ErrInvalidArgument},
		{fmt.Errorf("mount: %w", syscall.ENOTDIR), 126, errdefs.ErrInvalidArgument},
		{fmt.Errorf("no QEMU: %w: %w", syscall.ENOENT, errdefs.ErrUnavailable), 128, errdefs.ErrUnavailable},
		{errors.New("what else"), 128, nil},
	} {
		code, err := startFailure(tc.err)
		if code != tc.code || tc.kind != nil && !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.err.Error()) {
			t.Errorf("%v: %d, %v", tc.err, code, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for try := range 20 {
		if name := randomName(try); checkName(name) != nil {
			t.Errorf("%q is not a name", name)
		}
	}
	for _, name := range []string{"a", "", "-a", "a b", "a/b", strings.Repeat("a", 300), "ä"} {
		if !errdefs.IsInvalidArgument(checkName(name)) {
			t.Errorf("%q was accepted", name)
		}
	}
	if id := newID(); len(id) != 64 || strings.Trim(id[:12], "0123456789") == "" {
		t.Errorf("ID %s", id)
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web1", container.HostConfig{NetworkMode: "none"})
	r.create("web2", container.HostConfig{})
	r.start("web2")
	r.create("db", container.HostConfig{})
	go r.start("db").end(3)
	r.await("db", "")
	for _, tc := range []struct {
		key, value string
		want       []string
	}{
		{"name", "web", []string{"web2", "web1"}},
		{"name", "^web1$", []string{"web1"}},
		{"name", "/db", []string{"db"}},
		{"status", "running", []string{"web2"}},
		{"status", "created", []string{"web1"}},
		{"exited", "3", []string{"db"}},
		{"network", "none", []string{"web1"}},
		{"label", "of=image", []string{"db", "web2", "web1"}},
		{"label", "of=nobody", nil},
		{"ancestor", "app:1", []string{"db", "web2", "web1"}},
		{"ancestor", digest.FromString("app").String(), []string{"db", "web2", "web1"}},
		{"ancestor", "other", nil},
		{"before", "db", []string{"web2", "web1"}},
		{"since", "web1", []string{"db", "web2"}},
		{"isolation", "process", []string{"db", "web2", "web1"}},
		{"isolation", "vm", nil},
	} {
		list, err := r.ListContainers(t.Context(), true, 0, false, engineapi.Filters{tc.key: {tc.value: true}})
		if err != nil {
			t.Errorf("%s=%s: %v", tc.key, tc.value, err)
		}
		var got []string
		for _, c := range list {
			got = append(got, strings.TrimPrefix(c.Names[0], "/"))
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s=%s: %v, want %v", tc.key, tc.value, got, tc.want)
		}
	}
	for key, value := range map[string]string{"nonsense": "a", "status": "asleep", "exited": "often", "before": "nobody"} {
		if _, err := r.ListContainers(t.Context(), true, 0, false, engineapi.Filters{key: {value: true}}); err == nil {
			t.Errorf("%s=%s was accepted", key, value)
		}
	}
	if list, err := r.ListContainers(t.Context(), false, 0, false, nil); err != nil || len(list) != 1 {
		t.Errorf("those that run: %v, %v", list, err)
	}
	if list, err := r.ListContainers(t.Context(), false, 2, false, nil); err != nil || len(list) != 2 {
		t.Errorf("the newest two: %v, %v", list, err)
	}
	must(t, r.RemoveContainer(t.Context(), "web2", true, false))
}

func TestMatchReference(t *testing.T) {
	t.Parallel()
	names := []string{"busybox:latest", "localhost:5000/team/app:1"}
	for pattern, want := range map[string]string{
		"busybox": "busybox:latest", "busybox:latest": "busybox:latest", "busybox:1": "", "busy*": "busybox:latest", "*:latest": "busybox:latest",
		"localhost:5000/team/app": "localhost:5000/team/app:1", "localhost:5000/*/app": "localhost:5000/team/app:1", "app": "",
	} {
		img := &image.Image{Names: names, Digests: []string{"other@sha256:00"}}
		selected := selectReferences(img, map[string]bool{pattern: true})
		if got := strings.Join(img.Names, " "); got != want || selected != (want != "") || len(img.Digests) != 0 {
			t.Errorf("%s: %q %v, %v", pattern, got, img.Digests, selected)
		}
	}
}

func TestParseMoment(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	for value, want := range map[string]time.Time{
		"10m":                  now.Add(-10 * time.Minute),
		"1700000000":           time.Unix(1_700_000_000, 0),
		"1700000000.5":         time.Unix(1_700_000_000, 500_000_000),
		"2026-01-02T03:04:05Z": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	} {
		if got, err := parseMoment(value, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", value, got, err)
		}
	}
	if _, err := parseMoment("yesterday", now); !errdefs.IsInvalidArgument(err) {
		t.Errorf("nonsense: %v", err)
	}
}
