package vm_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"bothy/internal/shimapi"
	"bothy/internal/vm"
	"bothy/internal/vm/ext4"
	"bothy/internal/vm/kernel"
)

// kept is a template and what machines that go on from it are made of.
type kept struct {
	parts
	template *vm.Template
	config   vm.Config
	disk     string // the template's, pristine
	practice vm.Practice
}

// makeTemplate makes a template of a machine like that of p.config.
func makeTemplate(ctx context.Context, t *testing.T, p parts) kept {
	t.Helper()
	var err error
	if p.kernel, err = kernel.Uncompressed(ctx, t.TempDir(), p.found); err != nil {
		p.kernel = p.found.Image
	}
	k := kept{parts: p, config: p.config(t, newMemStreams("")), disk: filepath.Join(t.TempDir(), "disk.img")}
	if err := ext4.Create(k.disk, 1<<30); err != nil {
		t.Fatal(err)
	}
	k.practice = p.practice(t)
	dir := t.TempDir()
	k.template, err = vm.MakeTemplate(ctx, vm.TemplateConfig{Dir: dir, Machine: k.config.Machine, Disk: k.disk, Practice: k.practice, Tap: newTap(t)})
	if err != nil {
		console, _ := os.ReadFile(filepath.Join(dir, shimapi.ConsoleLog))
		t.Fatalf("%v\n%s", err, console)
	}
	t.Cleanup(func() { k.template.Close() })
	return k
}

func (p parts) practice(t *testing.T) vm.Practice {
	t.Helper()
	dir := t.TempDir()
	image := p.layer(t, dir, "base")
	if err := os.Truncate(image, vm.PracticeSize); err != nil {
		t.Fatal(err)
	}
	writeSpec(t, dir, "true")
	return vm.Practice{Image: image, Bundle: dir}
}

func writeSpec(t *testing.T, bundle, command string) {
	t.Helper()
	data, err := json.Marshal(spec(command))
	if err == nil {
		err = os.WriteFile(filepath.Join(bundle, shimapi.SpecFile), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// machine is the configuration of a machine that goes on from the template.
func (k kept) machine(t *testing.T, s vm.Streams) vm.Config {
	t.Helper()
	c := k.config
	c.Bundle, c.Streams, c.Template, c.Taps, c.Machine.Fresh = t.TempDir(), s, k.template, nil, true
	c.Taps = append(c.Taps, newTap(t))
	c.Rootfs = nil
	for _, m := range k.config.Rootfs {
		c.Rootfs = append(c.Rootfs, proto.CloneOf(m))
	}
	c.Rootfs[2].Source = filepath.Join(c.Bundle, "disk.img")
	if err := ext4.Clone(k.disk, c.Rootfs[2].Source); err != nil {
		t.Fatal(err)
	}
	return c
}

// runs runs a command in a container of its own and returns its output.
func runs(ctx context.Context, t *testing.T, m *vm.Machine, c vm.Config, s *memStreams, command string) string {
	t.Helper()
	begin := time.Now()
	create(ctx, t, m, c, spec(command), "")
	created := time.Since(begin)
	if _, err := m.Task().Start(ctx, &taskAPI.StartRequest{ID: c.ID}); err != nil {
		t.Fatal(err)
	}
	w, err := m.Task().Wait(ctx, &taskAPI.WaitRequest{ID: c.ID})
	if err != nil || w.ExitStatus != 0 {
		t.Fatalf("wait: %v, %v: %s", w, err, s.text("err"))
	}
	t.Logf("created %d ms, exited %d ms", created.Milliseconds(), time.Since(begin).Milliseconds())
	if _, err := m.Task().Delete(ctx, &taskAPI.DeleteRequest{ID: c.ID}); err != nil {
		t.Fatal(err)
	}
	return s.text("out")
}

const identity = "cat /base /upper; cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; date +%s; echo x >/new"

func TestTemplate(t *testing.T) {
	p := findParts(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*bootTimeout)
	defer cancel()
	k := makeTemplate(ctx, t, p)
	t.Run("siblings", func(t *testing.T) { siblings(ctx, t, k) })
	t.Run("used disk", func(t *testing.T) { usedDisk(ctx, t, k) })
	t.Run("assigned", func(t *testing.T) { assigned(ctx, t, k) })
	t.Run("broken memory", func(t *testing.T) { brokenMemory(ctx, t, k) })
	t.Run("broken state", func(t *testing.T) { brokenState(ctx, t, k) })
}

// siblings checks that two machines of one template share nothing that names
// them.
func siblings(ctx context.Context, t *testing.T, k kept) {
	var seen []string
	for range 2 {
		s := newMemStreams("")
		c := k.machine(t, s)
		m := boot(t, c)
		if r := m.Report(); !r.Restored || r.Reason != "" {
			t.Errorf("it came up like this: %+v", r)
		}
		lines := strings.Fields(strings.TrimPrefix(runs(ctx, t, m, c, s, identity), "baseupper"))
		if len(lines) != 3 {
			t.Fatalf("its output is %q", lines)
		}
		if clock, err := strconv.ParseInt(lines[2], 10, 64); err != nil || time.Since(time.Unix(clock, 0)).Abs() > time.Minute {
			t.Errorf("its clock shows %s, %v", lines[2], err)
		}
		for _, other := range seen {
			if other == lines[0] || other == lines[1] {
				t.Errorf("two machines drew the same: %s", other)
			}
		}
		seen = append(seen, lines[:2]...)
		m.Close()
	}
}

// usedDisk starts a second machine from the disk that a first one has written.
func usedDisk(ctx context.Context, t *testing.T, k kept) {
	s := newMemStreams("")
	c := k.machine(t, s)
	m := boot(t, c)
	runs(ctx, t, m, c, s, "echo kept >/file")
	m.Close()
	s = newMemStreams("")
	c.Streams, c.Machine.Fresh = s, false
	m = boot(t, c)
	if got := runs(ctx, t, m, c, s, "cat /file"); got != "kept\n" {
		t.Errorf("the file has %q", got)
	}
	m.Close()
}

// assigned gives waiting machines to containers.
func assigned(ctx context.Context, t *testing.T, k kept) {
	waiting := k.machine(t, newMemStreams(""))
	rootfs := waiting.Rootfs
	waiting.Rootfs = k.practice.Rootfs(rootfs[2].Source)
	m := boot(t, waiting)
	if err := m.Practise(ctx, k.practice, rootfs[2].Source); err != nil {
		t.Fatal(err)
	}
	if err := m.Rest(ctx); err != nil {
		t.Fatal(err)
	}
	s := newMemStreams("")
	c := waiting
	c.Streams, c.Rootfs, c.Bundle = s, rootfs, t.TempDir()
	err := m.Assign(ctx, vm.Assignment{ID: c.ID, Bundle: c.Bundle, Machine: c.Machine, Rootfs: c.Rootfs, Streams: s})
	if err != nil {
		t.Fatal(err)
	}
	if got := runs(ctx, t, m, c, s, identity); !strings.HasPrefix(got, "baseupper") {
		t.Errorf("its output is %q", got)
	}
	if r := m.Report(); !r.Restored || !r.Pooled {
		t.Errorf("it came up like this: %+v", r)
	}
	m.Close()
}

// brokenMemory goes on where there is nothing to go on from: QEMU cannot tell,
// the guest's processor does.
func brokenMemory(ctx context.Context, t *testing.T, k kept) {
	c := k.machine(t, newMemStreams(""))
	fd, err := unix.MemfdCreate("empty", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	memory := os.NewFile(uintptr(fd), "empty")
	defer memory.Close()
	if err := errors.Join(memory.Truncate(c.Machine.Memory), memory.Chmod(0o666)); err != nil {
		t.Fatal(err)
	}
	c.Template = &vm.Template{Memory: memory, State: k.template.State}
	m := boot(t, c)
	writeSpec(t, c.Bundle, "true")
	_, err = m.Task().Create(ctx, &taskAPI.CreateTaskRequest{ID: c.ID, Bundle: c.Bundle, Rootfs: c.Rootfs, Stdout: "out", Stderr: "err"})
	if err == nil || !m.Stillborn() {
		t.Errorf("creating a container in it: %v; stillborn: %v", err, m.Stillborn())
	}
}

// brokenState boots where the template is of no use.
func brokenState(ctx context.Context, t *testing.T, k kept) {
	state, err := os.Create(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	if _, err := state.WriteString("nonsense"); err != nil {
		t.Fatal(err)
	}
	s := newMemStreams("")
	c := k.machine(t, s)
	c.Template = &vm.Template{Memory: k.template.Memory, State: state}
	m := boot(t, c)
	if r := m.Report(); r.Restored || !strings.Contains(r.Reason, "template") {
		t.Errorf("it came up like this: %+v", r)
	}
	if got := runs(ctx, t, m, c, s, "cat /base"); got != "base" {
		t.Errorf("its output is %q", got)
	}
	m.Close()
}
