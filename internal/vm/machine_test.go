package vm_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	erofs "github.com/erofs/go-erofs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"bothy/internal/executortest"
	"bothy/internal/shimapi"
	"bothy/internal/vm"
	"bothy/internal/vm/ext4"
	"bothy/internal/vm/initramfs"
	"bothy/internal/vm/kernel"
)

// bootTimeout is long: machines share few processors and have no KVM.
const bootTimeout = 90 * time.Second

// tags are those of the shim.
const tags = "seccomp netgo osusergo no_grpc runc_nocriu grpcnotrace"

// parts are a kernel and an initramfs, made once for all tests.
type parts struct {
	found                      kernel.Kernel
	kernel, initramfs, busybox string // paths; kernel is the image of found
	applets                    []string
	memory                     int64 // of machines, in bytes; 0: 256 MiB
}

// findParts skips the test if something is missing.
func findParts(t testing.TB) parts {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("starting a virtual machine as the shim does needs root")
	}
	if testing.Short() {
		t.Skip("booting virtual machines takes long")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip(err)
	}
	const busybox = "/bin/busybox"
	if _, err := os.Stat(busybox); err != nil {
		t.Skip(err)
	}
	opts := kernel.Options{}
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
	dir := t.TempDir()
	init := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-trimpath", "-tags", tags, "-ldflags", "-s -w -extldflags -static", "-o", init, "./testdata/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building PID 1: %v\n%s", err, out)
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	p := parts{found: k, kernel: k.Image, initramfs: filepath.Join(dir, "initramfs"), busybox: busybox}
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			p.applets = append(p.applets, applet)
		}
	}
	f, err := os.Create(p.initramfs)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := initramfs.Build(f, k, init); err != nil {
		t.Fatal(err)
	}
	return p
}

// config describes a machine with an overlay of two layers and a writable disk.
func (p parts) config(t testing.TB, s vm.Streams) vm.Config {
	t.Helper()
	bundle := t.TempDir()
	rw := filepath.Join(bundle, "rw.ext4")
	if err := ext4.Create(rw, 1<<30); err != nil {
		t.Fatal(err)
	}
	return vm.Config{
		ID:      "test",
		Bundle:  bundle,
		Streams: s,
		Machine: shimapi.Machine{
			QEMU: "/usr/bin/qemu-system-x86_64", Accel: "tcg", Kernel: p.kernel, Initramfs: p.initramfs,
			Cmdline: os.Getenv("BOTHY_TEST_CMDLINE"), Memory: cmp.Or(p.memory, 256<<20), CPUs: 2, UID: 64001, GID: 64001, BootTimeout: bootTimeout,
		},
		Rootfs: []*types.Mount{
			{Type: "erofs", Source: p.layer(t, bundle, "base"), Target: "l/0"},
			{Type: "erofs", Source: p.layer(t, bundle, "upper"), Target: "l/1"},
			{Type: "ext4", Source: rw, Target: "rw"},
			{Type: "overlay", Source: "overlay", Target: "rootfs", Options: []string{"lowerdir=l/1:l/0", "upperdir=rw/upper", "workdir=rw/work"}},
		},
	}
}

// layer makes an EROFS image; the one named "base" has busybox.
func (p parts) layer(t testing.TB, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name+".erofs")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := erofs.Create(f)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(name string, data []byte, mode os.FileMode) {
		t.Helper()
		file, err := w.Create(name)
		must(err)
		_, err = file.Write(data)
		must(err)
		must(file.Close())
		must(w.Chmod(name, mode))
	}
	put("/"+name, []byte(name), 0o644)
	if name == "base" {
		binary, err := os.ReadFile(p.busybox)
		must(err)
		for _, d := range []string{"/bin", "/dev", "/proc", "/sys", "/tmp", "/etc", "/root"} {
			must(w.Mkdir(d, 0o755))
		}
		put("/bin/busybox", binary, 0o755)
		for _, applet := range p.applets {
			must(w.Symlink("busybox", "/bin/"+applet))
		}
		for name, text := range executortest.Etc {
			put(name, []byte(text), 0o644)
		}
		for _, file := range []string{"/etc/hosts", "/etc/resolv.conf"} {
			put(file, nil, 0o644)
		}
	}
	must(w.Close())
	return path
}

// spec is a plain container that runs a shell command.
func spec(command string) *specs.Spec {
	return &specs.Spec{
		Version:  "1.0.2",
		Hostname: "guest-test",
		Root:     &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Args: []string{"/bin/sh", "-c", command}, Cwd: "/", Env: []string{"PATH=/bin"},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=755"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/bothy/test",
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.IPCNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.CgroupNamespace},
			},
		},
	}
}

// memStreams keeps output in memory and gives fixed input.
type memStreams struct {
	input string

	mu     sync.Mutex // guards out
	out    map[string]*bytes.Buffer
	closed chan string
}

func newMemStreams(input string) *memStreams {
	return &memStreams{input: input, out: map[string]*bytes.Buffer{}, closed: make(chan string, 16)}
}

func (s *memStreams) OpenInput(context.Context, string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(s.input)), nil
}

func (s *memStreams) OpenOutput(_ context.Context, name string) (io.WriteCloser, error) {
	return &memOutput{s, name}, nil
}

func (s *memStreams) text(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.out[name]; b != nil {
		return b.String()
	}
	return ""
}

type memOutput struct {
	s    *memStreams
	name string
}

func (o *memOutput) Write(b []byte) (int, error) {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if o.s.out[o.name] == nil {
		o.s.out[o.name] = &bytes.Buffer{}
	}
	return o.s.out[o.name].Write(b)
}

func (o *memOutput) Close() error {
	select {
	case o.s.closed <- o.name:
	default:
	}
	return nil
}

// boot starts a machine that ends with the test, and shows its console if the
// test fails.
func boot(t testing.TB, c vm.Config) *vm.Machine {
	t.Helper()
	m, err := vm.Boot(context.Background(), c)
	t.Cleanup(func() {
		if t.Failed() || os.Getenv("BOTHY_TEST_CMDLINE") != "" {
			log, _ := os.ReadFile(filepath.Join(c.Bundle, shimapi.ConsoleLog))
			t.Logf("console:\n%s", log)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// create makes the container of a machine.
func create(ctx context.Context, t testing.TB, m *vm.Machine, c vm.Config, s *specs.Spec, stdin string) {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Bundle, shimapi.SpecFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = m.Task().Create(ctx, &taskAPI.CreateTaskRequest{
		ID: c.ID, Bundle: c.Bundle, Rootfs: c.Rootfs, Stdin: stdin, Stdout: "out", Stderr: "err",
	})
	if err != nil {
		t.Fatal(err)
	}
}
