package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// homes are the two places that every test of a container's behaviour runs in.
var homes = []string{"process", "vm"}

// patience bounds every command; nothing waits for a time to pass.
const patience = 2 * time.Minute

// engine is one bothyd with roots of its own.
type engine struct {
	dir    string // data root, exec root, log
	bridge string // its network's interface and firewall table
	socket string
	flags  []string
	mount  string // an item of stock that the test itself made
	cmd    *exec.Cmd
	log    *os.File
}

// shared is the engine that most tests use, started by the first of them.
var shared struct {
	dir  string // where this run keeps everything
	once sync.Once
	err  error
	*engine
}

// engines counts the engines of single tests.
var engines atomic.Int32

func (e *engine) start() error {
	if err := os.MkdirAll(e.dir, 0o755); err != nil {
		return err
	}
	// A configuration file that is named must be there.
	if err := os.WriteFile(filepath.Join(e.dir, "daemon.json"), []byte("{}\n"), 0o644); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(e.dir, "bothyd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	e.log = log
	e.socket = filepath.Join(e.dir, "bothy.sock")
	e.cmd = exec.Command(binary("bothyd"), append([]string{
		"--data-root", filepath.Join(e.dir, "data"),
		"--exec-root", filepath.Join(e.dir, "run"),
		"--pidfile", filepath.Join(e.dir, "bothyd.pid"),
		"--config-file", filepath.Join(e.dir, "daemon.json"),
		"--cgroup-parent", "/" + filepath.Base(shared.dir),
		"--bridge", e.bridge,
		"-H", "unix://" + e.socket, "--debug",
	}, e.flags...)...)
	e.cmd.Stdout, e.cmd.Stderr = log, log
	if err := e.cmd.Start(); err != nil {
		return fmt.Errorf("starting bothyd: %w", err)
	}
	return e.awaitSocket()
}

// awaitSocket returns once bothyd answers.
func (e *engine) awaitSocket() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- e.cmd.Wait() }()
	for {
		if c, err := net.Dial("unix", e.socket); err == nil {
			return c.Close()
		}
		select {
		case err := <-ended:
			return fmt.Errorf("bothyd ended (%v); its log says:\n%s", err, e.tail())
		case <-ctx.Done():
			return fmt.Errorf("bothyd does not listen on %s; its log says:\n%s", e.socket, e.tail())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (e *engine) tail() string {
	raw, _ := os.ReadFile(e.log.Name())
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// signal sends sig to bothyd and waits until it is gone.
func (e *engine) signal(sig syscall.Signal) error {
	if err := e.cmd.Process.Signal(sig); err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for syscall.Kill(e.cmd.Process.Pid, 0) == nil {
		if time.Now().After(deadline) {
			return fmt.Errorf("bothyd (pid %d) is still there after %v: %v", e.cmd.Process.Pid, sig, e.tail())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

func (e *engine) stop() error {
	if e == nil || e.cmd == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if out, err := e.command(ctx, "bothy", "ps", "-aq").Output(); err == nil {
		if ids := strings.Fields(string(out)); len(ids) > 0 {
			_ = e.command(ctx, "bothy", append([]string{"rm", "-f"}, ids...)...).Run()
		}
	}
	err := e.signal(syscall.SIGTERM)
	if left, stockErr := takeStock(); stockErr == nil {
		for item := range left {
			if item != e.mount && strings.Contains(item, e.dir) || strings.HasSuffix(item, " "+e.bridge) {
				err = errors.Join(err, fmt.Errorf("left behind after bothyd stopped: %s", item))
			}
		}
	}
	return errors.Join(err, e.log.Close())
}

func (e *engine) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	path := program
	if program == "bothy" {
		path = binary("bothy")
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.socket, "DOCKER_CONFIG="+filepath.Join(e.dir, "cli"))
	return cmd
}

// result is what a command left behind.
type result struct {
	stdout, stderr string
	status         int
}

// run runs a CLI against the engine; stdin may be "".
func (e *engine) run(t *testing.T, stdin, program string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := e.command(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %s: %v", program, strings.Join(args, " "), err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s %s: no end within %v; stdout %q, stderr %q\nbothyd: %s", program, strings.Join(args, " "), patience, stdout.String(), stderr.String(), e.tail())
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// bothy runs our CLI and fails the test unless it succeeds; it gives stdout
// without the last newline.
func (e *engine) bothy(t *testing.T, args ...string) string {
	t.Helper()
	r := e.run(t, "", "bothy", args...)
	if r.status != 0 {
		t.Fatalf("bothy %s: status %d, stderr: %s\nbothyd: %s", strings.Join(args, " "), r.status, r.stderr, e.tail())
	}
	return strings.TrimSuffix(r.stdout, "\n")
}

// removeLater removes a container when the test ends.
func (e *engine) removeLater(t *testing.T, name string) {
	t.Cleanup(func() { e.run(t, "", "bothy", "rm", "-f", name) })
}

func binary(name string) string {
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", name))
	if err != nil {
		panic(err) // no working directory
	}
	return path
}

func sampleImage(name string) string {
	dir := os.Getenv("BOTHY_IMAGES")
	if dir == "" {
		dir = "/var/cache/bothy/images"
	}
	return filepath.Join(dir, name+".tar")
}

// theEngine gives the shared engine with both sample images in it.
func theEngine(t *testing.T) *engine {
	t.Helper()
	shared.once.Do(func() {
		shared.engine = &engine{dir: filepath.Join(shared.dir, "engine"), bridge: "bothy0"}
		if shared.err = shared.start(); shared.err != nil {
			return
		}
		for _, image := range []struct{ file, command, ref string }{{"busybox", `CMD ["sh"]`, "busybox"}, {"debian", `CMD ["bash"]`, "debian:bookworm"}} {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			out, err := shared.command(ctx, "bothy", "import", "-c", image.command, sampleImage(image.file), image.ref).CombinedOutput()
			cancel()
			if err != nil {
				shared.err = fmt.Errorf("importing %s (made by `make images`): %v: %s", sampleImage(image.file), err, out)
				return
			}
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.engine
}

// ownEngine starts an engine that a test may stop, kill or fill.
func ownEngine(t *testing.T, flags ...string) *engine {
	t.Helper()
	name := strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())
	e := &engine{dir: filepath.Join(shared.dir, name), bridge: fmt.Sprintf("bt%d", engines.Add(1)), flags: flags}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.stop(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// inBothHomes runs a test once in each home.
func inBothHomes(t *testing.T, test func(t *testing.T, e *engine, home string)) {
	t.Parallel()
	e := theEngine(t)
	for _, home := range homes {
		t.Run(home, func(t *testing.T) {
			t.Parallel()
			test(t, e, home)
		})
	}
}
