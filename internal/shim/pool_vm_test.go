package shim_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"bothy/internal/executortest"
	"bothy/internal/network"
	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
	"bothy/internal/vm"
	"bothy/internal/vm/ext4"
)

// pool makes machines that wait, all from one template.
type pool struct {
	t        *testing.T
	machine  shimapi.Machine
	template *vm.Template
	disk     string // the template's
	practice shimapi.Practice
	opts     shimclient.BlankOptions
	mounts   []*types.Mount
}

func newPool(t *testing.T) *pool {
	t.Helper()
	b := prepareBox(t)
	var opts shimapi.CreateOptions
	inMachine(t, b)(nil, &opts)
	p := &pool{t: t, machine: *opts.Machine, mounts: b.rootfs, disk: filepath.Join(t.TempDir(), "disk.img")}
	p.opts.Binary, p.opts.Executable = b.opts.Binary, b.opts.Executable
	p.practice = practice(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(ext4.Create(p.disk, 1<<30))
	tap, err := network.MakeLoneTap(p.machine.UID)
	must(err)
	defer tap.Close()
	p.template, err = vm.MakeTemplate(b.ctx, vm.TemplateConfig{
		Dir: t.TempDir(), Machine: p.machine, Disk: p.disk, Tap: tap, Practice: vm.Practice{Image: p.practice.Image, Bundle: p.practice.Bundle},
	})
	must(err)
	t.Cleanup(func() { _ = p.template.Close() })
	p.machine.Template = &shimapi.Template{Digest: "test"}
	return p
}

// practice is the container that the machines practise with.
func practice(t *testing.T) shimapi.Practice {
	t.Helper()
	image := layer(t)
	if err := os.Truncate(image, vm.PracticeSize); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	spec := executortest.DefaultSpec()
	spec.Process.Args = []string{"/bin/sh", "-c", "true"}
	spec.Linux.CgroupsPath = "/bothy/practice"
	writeJSON(t, filepath.Join(dir, shimapi.SpecFile), spec)
	return shimapi.Practice{Image: image, Bundle: dir}
}

// blank starts a shim whose machine is to wait.
func (p *pool) blank() (*shimclient.Blank, shimapi.PoolPrepare) {
	p.t.Helper()
	dir := p.t.TempDir()
	opts := p.opts
	opts.Dir = dir
	opts.Prepare = shimapi.PoolPrepare{
		Machine: p.machine, Disk: filepath.Join(dir, "disk.img"), Cgroup: "/bothy-shim-test/" + filepath.Base(dir), Filters: dir, Practice: p.practice,
	}
	if err := ext4.Clone(p.disk, opts.Prepare.Disk); err != nil {
		p.t.Fatal(err)
	}
	tap, err := network.MakeLoneTap(p.machine.UID)
	if err != nil {
		p.t.Fatal(err)
	}
	defer tap.Close()
	opts.Files = []*os.File{tap, p.template.Memory, p.template.State}
	blank, err := shimclient.StartBlank(opts)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if p.t.Failed() {
			data, _ := os.ReadFile(filepath.Join(dir, shimapi.ShimLog))
			p.t.Logf("shim.log of one that waits:\n%s", data)
		}
		blank.Close(p.t.Context())
	})
	return blank, opts.Prepare
}

// claim makes a shim that waits the box's.
func (p *pool) claim(blank *shimclient.Blank) *box {
	p.t.Helper()
	b := prepareBox(p.t)
	b.rootfs = p.mounts
	var err error
	if b.client, err = blank.Claim(b.ctx, b.id, b.bundle); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(b.remove)
	return b
}

// onDisk gives the container the machine, with a writable disk at path.
func (p *pool) onDisk(b *box, path string, fresh bool) func(*specs.Spec, *shimapi.CreateOptions) {
	b.rootfs = []*types.Mount{
		{Type: "erofs", Source: p.mounts[0].Source, Target: "l/0", Options: []string{"ro"}},
		{Type: "ext4", Source: path, Target: "rw"},
		{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=l/0", "upperdir=rw/upper", "workdir=rw/work"}},
	}
	return func(_ *specs.Spec, o *shimapi.CreateOptions) {
		machine := p.machine
		machine.Fresh, o.Machine = fresh, &machine
	}
}

func (b *box) report() shimapi.MachineReport {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.bundle, shimapi.MachineFile))
	if err != nil {
		b.t.Fatal(err)
	}
	var r shimapi.MachineReport
	if err := json.Unmarshal(data, &r); err != nil {
		b.t.Fatal(err)
	}
	return r
}

func TestPool(t *testing.T) {
	p := newPool(t)
	t.Run("fresh", func(t *testing.T) { p.t = t; pooledFresh(t, p) })
	t.Run("abandoned", func(t *testing.T) { p.t = t; pooledAbandoned(t, p) })
	t.Run("machine gone", func(t *testing.T) { p.t = t; pooledMachineGone(t, p) })
}

// pooledFresh runs a container on the disk that its machine has waited with, and
// then another one on what the first has written.
func pooledFresh(t *testing.T, p *pool) {
	disk := ""
	for i, want := range []string{"none\n", "kept\n"} {
		blank, prepare := p.blank()
		qemu, err := blank.Ready(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if groups, err := os.ReadFile("/proc/" + strconv.Itoa(qemu) + "/cgroup"); err != nil || !strings.Contains(string(groups), prepare.Cgroup) {
			t.Errorf("QEMU waits in the cgroups %q, %v", groups, err)
		}
		if i == 0 {
			disk = prepare.Disk
		}
		b := p.claim(blank)
		began := time.Now()
		b.create(p.onDisk(b, disk, i == 0), script("cat /file || echo none; echo kept >/file; exit 3"))
		b.start()
		if status := b.wait(); status != 3 {
			t.Errorf("status %d", status)
		}
		t.Logf("created to exited: %s", time.Since(began))
		if out, _ := b.log(); out != want {
			t.Errorf("the output is %q", out)
		}
		if r := b.report(); !r.Pooled || !r.Restored {
			t.Errorf("report %+v", r)
		}
		if groups, err := os.ReadFile("/proc/" + strconv.Itoa(qemu) + "/cgroup"); err != nil || !strings.Contains(string(groups), b.id) {
			t.Errorf("QEMU is in the cgroups %q, %v", groups, err)
		}
		if b.qemu() != qemu {
			t.Error("QEMU's process id has not come along")
		}
		b.delete()
		if unix.Kill(qemu, 0) == nil && !zombie(qemu) {
			t.Errorf("QEMU, process %d, lives on", qemu)
		}
	}
}

// pooledAbandoned ends shims while their machines are made, and while they wait.
func pooledAbandoned(t *testing.T, p *pool) {
	early, _ := p.blank()
	early.Close(t.Context())
	<-early.Done()
	late, _ := p.blank()
	qemu, err := late.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	late.Close(t.Context())
	<-late.Done()
	if unix.Kill(qemu, 0) == nil && !zombie(qemu) {
		t.Errorf("QEMU, process %d, lives on", qemu)
	}
	if _, err := late.Claim(t.Context(), "x", t.TempDir()); !errdefs.IsUnavailable(err) {
		t.Errorf("claiming what is gone: %v", err)
	}
}

// pooledMachineGone kills a machine between the claim of its shim and the
// container.
func pooledMachineGone(t *testing.T, p *pool) {
	blank, prepare := p.blank()
	qemu, err := blank.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := p.claim(blank)
	if err := unix.Kill(qemu, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.create(p.onDisk(b, prepare.Disk, true), script("echo here"))
	b.start()
	if status := b.wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	if out, _ := b.log(); out != "here\n" {
		t.Errorf("the output is %q", out)
	}
	if r := b.report(); r.Pooled || !r.Restored {
		t.Errorf("report %+v", r)
	}
	b.delete()
}
