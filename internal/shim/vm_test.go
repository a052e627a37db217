package shim_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	erofs "github.com/erofs/go-erofs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"bothy/internal/executortest"
	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
	"bothy/internal/vm"
	"bothy/internal/vm/initramfs"
	"bothy/internal/vm/kernel"
)

// inMachine puts the container of a box into a virtual machine.
func inMachine(t *testing.T, b *box) func(*specs.Spec, *shimapi.CreateOptions) {
	t.Helper()
	if testing.Short() {
		t.Skip("booting virtual machines takes long")
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip(err)
	}
	var opts kernel.Options
	if root := os.Getenv("BOTHY_TEST_KERNEL_ROOT"); root != "" {
		opts.Roots = []string{root}
	}
	k, err := kernel.Find(opts)
	if errdefs.IsUnavailable(err) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	boot := filepath.Join(t.TempDir(), "initramfs")
	file, err := os.Create(boot)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := initramfs.Build(file, k, b.opts.Binary); err != nil {
		t.Fatal(err)
	}
	b.rootfs = []*types.Mount{{Type: "erofs", Source: layer(t)}}
	return func(_ *specs.Spec, o *shimapi.CreateOptions) {
		o.Machine = &shimapi.Machine{
			QEMU: qemu, Accel: "tcg", Kernel: k.Image, Initramfs: boot,
			Memory: 256 << 20, CPUs: 1, UID: 64002, GID: 64002, BootTimeout: 45 * time.Second,
		}
	}
}

// layer makes an EROFS image with busybox.
func layer(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layer.erofs")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := erofs.Create(file)
	put := func(name string, data []byte, mode os.FileMode) {
		t.Helper()
		f, err := w.Create(name)
		must(err)
		_, err = f.Write(data)
		must(err)
		must(f.Close())
		must(w.Chmod(name, mode))
	}
	for _, dir := range []string{"/bin", "/etc", "/tmp", "/proc", "/dev", "/sys", "/root"} {
		must(w.Mkdir(dir, 0o755))
	}
	data, err := os.ReadFile("/bin/busybox")
	must(err)
	put("/bin/busybox", data, 0o755)
	for _, applet := range applets {
		must(w.Symlink("busybox", "/bin/"+applet))
	}
	for name, text := range executortest.Etc {
		put("/"+strings.TrimPrefix(name, "/"), []byte(text), 0o644)
	}
	must(w.Close())
	return path
}

func TestMachine(t *testing.T) {
	b := newBox(t)
	b.create(inMachine(t, b), stdin(true), script("cat; echo err >&2; uname -n; i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; exit 42"))
	conn := b.attach(shimapi.AttachRequest{Stdin: true, Stdout: true, Stderr: true})
	b.start()
	if _, err := io.WriteString(conn, "typed\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	out, errs := frames(t, conn)
	want := fmt.Sprintf("typed\n%s\n%s", executortest.DefaultSpec().Hostname, numbers(0, 2000))
	if out != want || errs != "err\n" {
		t.Errorf("attached: %d bytes of output, errors %q", len(out), errs)
	}
	if status := b.wait(); status != 42 {
		t.Errorf("status %d", status)
	}
	if out, errs := b.log(); out != want || errs != "err\n" {
		t.Errorf("log: %d bytes of output, errors %q", len(out), errs)
	}
	if e := b.exit(); e.Status != 42 || e.Error != "" {
		t.Errorf("exit record %+v", e)
	}
	qemu := b.qemu()
	b.delete()
	if qemu != 0 && unix.Kill(qemu, 0) == nil {
		t.Errorf("QEMU, process %d, lives on", qemu)
	}
}

func TestMachineIsKilled(t *testing.T) {
	b := newBox(t)
	b.create(inMachine(t, b), script("echo ready; exec sleep 1000"))
	b.start()
	if err := unix.Kill(b.qemu(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if status := b.wait(); status != 137 {
		t.Errorf("status %d", status)
	}
	if e := b.exit(); e.Status != 137 || !strings.Contains(e.Error, "virtual machine") {
		t.Errorf("exit record %+v", e)
	}
	if _, err := b.client.Task.Kill(b.ctx, &taskAPI.KillRequest{ID: b.id, Signal: 9}); err == nil {
		t.Error("killing what is gone succeeded")
	}
	b.delete()
}

func TestDeleteAfterKilledShimOfMachine(t *testing.T) {
	b := newBox(t)
	b.create(inMachine(t, b), script("exec sleep 1000"))
	b.start()
	if rss := settled(t, b.client.Pid, maxOfMachine); rss > maxOfMachine {
		t.Errorf("the shim of a sleeping container has %d bytes resident, at most %d are allowed", rss, maxOfMachine)
	} else {
		t.Logf("resident %d bytes", rss)
	}
	qemu := b.qemu()
	if groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", qemu)); err != nil || !strings.Contains(string(groups), b.id) {
		t.Errorf("QEMU is in the cgroups %q, %v", groups, err)
	}
	if err := unix.Kill(b.client.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-b.client.Done()
	if err := shimclient.Cleanup(b.ctx, b.opts); err != nil {
		t.Fatal(err)
	}
	if unix.Kill(qemu, 0) == nil && !zombie(qemu) {
		t.Errorf("QEMU, process %d, lives on", qemu)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/bothy-shim-test/" + b.id); len(left) > 0 {
		t.Errorf("cgroups are left: %v", left)
	}
}

// qemu is the process id of the box's QEMU.
func (b *box) qemu() int {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.bundle, vm.PidFile))
	if err != nil {
		b.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		b.t.Fatal(err)
	}
	return pid
}
