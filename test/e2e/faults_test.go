package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestEngineKilledWhileContainersWrite kills bothyd with containers of both
// homes writing numbered lines: they run on, and no line is lost or doubled.
func TestEngineKilledWhileContainersWrite(t *testing.T) {
	t.Parallel()
	theEngine(t)
	e := ownEngine(t)
	e.bothy(t, "import", sampleImage("busybox"), "busybox")
	// usleep is busybox's; the last number is written on TERM, so its presence says that the log is whole.
	writer := "trap 'stop=1' TERM; i=0; while [ -z \"$stop\" ]; do i=$((i+1)); echo $i; usleep 10000; done; echo end"
	for _, home := range homes {
		e.bothy(t, "run", "-d", "--name", home, "--isolation", home, "busybox", "sh", "-c", writer)
	}
	pids := map[string]string{}
	for _, home := range homes {
		pids[home] = e.bothy(t, "inspect", "-f", "{{.State.Pid}}", home)
	}
	for round := range 3 {
		count := strings.Count(e.bothy(t, "logs", homes[round%2]), "\n")
		if err := e.signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := e.start(); err != nil {
			t.Fatal(err)
		}
		awaitLogLines(t, e, homes[round%2], count+20)
	}
	for _, home := range homes {
		if got := e.bothy(t, "inspect", "-f", "{{.State.Running}} {{.State.Pid}}", home); got != "true "+pids[home] {
			t.Errorf("%s: after three kills of bothyd: %q, its pid was %s", home, got, pids[home])
		}
		e.bothy(t, "stop", "-t", "30", home)
		lines := strings.Split(e.bothy(t, "logs", home), "\n")
		if lines[len(lines)-1] != "end" {
			t.Errorf("%s: the last line is %q", home, lines[len(lines)-1])
		}
		for i, line := range lines[:len(lines)-1] {
			if line != strconv.Itoa(i+1) {
				t.Fatalf("%s: line %d is %q", home, i+1, line)
			}
		}
		if got := e.bothy(t, "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", home); got != "exited 0" {
			t.Errorf("%s: %q", home, got)
		}
	}
}

func awaitLogLines(t *testing.T, e *engine, name string, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if strings.Count(e.bothy(t, "logs", name), "\n") >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not write on", name)
		}
	}
}

func TestContainerThatEndsWhileNoEngineRuns(t *testing.T) {
	t.Parallel()
	theEngine(t)
	e := ownEngine(t)
	e.bothy(t, "import", sampleImage("busybox"), "busybox")
	e.bothy(t, "run", "-d", "--name", "short", "busybox", "sh", "-c", "read x; exit 11")
	e.removeLater(t, "short")
	e.bothy(t, "run", "-d", "--name", "lost", "busybox", "sleep", "1000")
	short, _ := strconv.Atoi(e.bothy(t, "inspect", "-f", "{{.State.Pid}}", "short"))
	lost, _ := strconv.Atoi(e.bothy(t, "inspect", "-f", "{{.State.Pid}}", "lost"))
	if err := e.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	shim := parentOf(t, lost)
	for _, pid := range []int{short, shim} {
		if pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"short", "lost"} {
		e.bothy(t, "wait", name)
		if got := e.bothy(t, "inspect", "-f", "{{.State.Status}}", name); got != "exited" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if syscall.Kill(lost, 0) == nil {
		t.Errorf("the container whose shim was killed still runs (pid %d)", lost)
	}
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return parent
}

func TestMachineMonitorKilled(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	e.removeLater(t, "machine")
	id := e.bothy(t, "run", "-d", "--name", "machine", "--isolation", "vm", "busybox", "sleep", "1000")
	raw, err := os.ReadFile(filepath.Join(e.dir, "run", "c", id, "qemu.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := e.bothy(t, "wait", "machine"); got == "0" {
		t.Errorf("exit code %s after the machine was killed", got)
	}
	if got := e.bothy(t, "inspect", "-f", "{{.State.Status}} {{.State.Error}}", "machine"); !strings.HasPrefix(got, "exited ") || len(got) < len("exited ")+10 {
		t.Errorf("inspect says %q", got)
	}
	e.bothy(t, "rm", "machine")
}

func TestGuestKernelPanicEndsThatMachineOnly(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	r := e.run(t, "", "bothy", "run", "--rm", "--isolation", "vm", "--privileged", "busybox", "sh", "-c", "mount -o remount,rw /proc/sys 2>/dev/null; echo c >/proc/sysrq-trigger; sleep 60")
	if r.status == 0 {
		t.Errorf("status %d, stdout %q, stderr %q", r.status, r.stdout, r.stderr)
	}
	if got := e.bothy(t, "run", "--rm", "--isolation", "vm", "busybox", "echo", "fine"); got != "fine" {
		t.Errorf("afterwards: %q", got)
	}
}

func TestBadRequests(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		cases := []struct {
			name   string
			args   []string
			status int
			says   string
		}{
			{"home", []string{"run", "--rm", "--isolation", "cloud", "busybox", "true"}, 125, "isolation"},
			{"user", []string{"run", "--rm", "--isolation", home, "-u", "nosuch", "busybox", "true"}, 125, "nosuch"},
			{"workdir", []string{"run", "--rm", "--isolation", home, "-w", "not/absolute", "busybox", "true"}, 125, "absolute"},
			{"workdir that is a file", []string{"run", "--rm", "--isolation", home, "-w", "/etc/passwd", "busybox", "true"}, -1, "/etc/passwd"},
			{"capability", []string{"run", "--rm", "--isolation", home, "--cap-add", "FLY", "busybox", "true"}, 125, "FLY"},
			{"published port", []string{"run", "--rm", "--isolation", home, "-p", "80:80", "busybox", "true"}, 125, "publish"},
			{"volume", []string{"run", "--rm", "--isolation", home, "-v", "data:/data", "busybox", "true"}, 125, "volume"},
		}
		for _, c := range cases {
			args := append([]string{"run", "--label", "bad=" + home}, c.args[1:]...)
			r := e.run(t, "", "bothy", args...)
			if (c.status >= 0 && r.status != c.status) || r.status == 0 || !strings.Contains(r.stderr, c.says) {
				t.Errorf("%s: status %d, stderr %q", c.name, r.status, r.stderr)
			}
		}
		if got := e.bothy(t, "ps", "-aq", "--filter", "label=bad="+home); got != "" {
			t.Errorf("containers were left half-made: %q", got)
		}
	})
}

func TestBadArchives(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, err := os.ReadFile(dockerArchive(t, "broken:1", busyboxImage(t, "x")))
	if err != nil {
		t.Fatal(err)
	}
	climbing := tarOf(t, map[string]string{"../../etc/climbed": "x"})
	cases := []struct {
		name string
		args []string
		says string
	}{
		{"no archive", []string{"load", "-i", write("noise", bytes.Repeat([]byte("noise"), 1000))}, "archive"},
		{"empty", []string{"load", "-i", write("empty", nil)}, ""},
		{"cut off", []string{"load", "-i", write("cut", good[:len(good)/2])}, ""},
		{"a layer that lies about its digest", []string{"load", "-i", write("lie", lyingArchive(t, good))}, "digest"},
		{"import of noise", []string{"import", write("noise2", []byte("noise")), "noise"}, ""},
		{"a path that climbs out", []string{"import", write("climb", climbing), "climb"}, "climb"},
	}
	before := e.bothy(t, "images", "-aq", "--filter", "reference=broken", "--filter", "dangling=true")
	for _, c := range cases {
		r := e.run(t, "", "bothy", c.args...)
		if r.status == 0 || !strings.Contains(strings.ToLower(r.stderr), c.says) || strings.Count(strings.TrimSpace(r.stderr), "\n") > 0 {
			t.Errorf("%s: status %d, stderr %q", c.name, r.status, r.stderr)
		}
	}
	if after := e.bothy(t, "images", "-aq", "--filter", "reference=broken", "--filter", "dangling=true"); after != before {
		t.Errorf("images were left half-made: %q, before %q", after, before)
	}
	if _, err := os.Stat("/etc/climbed"); err == nil {
		t.Error("a path climbed out of its layer")
	}
}

// lyingArchive changes one byte in the last layer's only file.
func lyingArchive(t *testing.T, archive []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	r, w := tar.NewReader(bytes.NewReader(archive)), tar.NewWriter(&out)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(h.Name, ".tar.gz") {
			data = tarOf(t, map[string]string{"other": "content"})
			h.Size = int64(len(data))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestFullDisk loads an image into an engine whose disk is too small for it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	theEngine(t)
	e := &engine{dir: filepath.Join(shared.dir, "TestFullDisk"), bridge: "btfull"}
	data := filepath.Join(e.dir, "data")
	e.mount = "mount " + data
	if err := os.MkdirAll(data, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.stop(); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(data, 0); err != nil {
			t.Error("unmounting the small disk:", err)
		}
	})
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	r := e.run(t, "", "bothy", "import", sampleImage("debian"), "debian")
	if r.status == 0 || !strings.Contains(r.stderr, "no space left on") {
		t.Errorf("import into a full disk: status %d, stderr %q", r.status, r.stderr)
	}
	if got := e.bothy(t, "images", "-aq"); got != "" {
		t.Errorf("half an image stayed: %q", got)
	}
	e.bothy(t, "import", sampleImage("busybox"), "busybox")
	if got := e.bothy(t, "run", "--rm", "busybox", "echo", "room again"); got != "room again" {
		t.Errorf("afterwards: %q", got)
	}
}

func TestSecondEngine(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	sameRoot := e.command(ctx, binary("bothyd"), "--data-root", filepath.Join(e.dir, "data"), "--exec-root", filepath.Join(e.dir, "run2"), "--pidfile", filepath.Join(e.dir, "2.pid"),
		"--config-file", filepath.Join(e.dir, "daemon.json"), "-H", "unix://"+filepath.Join(e.dir, "2.sock"))
	if out, err := sameRoot.CombinedOutput(); err == nil || !strings.Contains(string(out), "--data-root") {
		t.Errorf("a second bothyd on the same root: %v: %s", err, out)
	}
	sameSocket := e.command(ctx, binary("bothyd"), "--data-root", filepath.Join(e.dir, "data3"), "--exec-root", filepath.Join(e.dir, "run3"), "--pidfile", filepath.Join(e.dir, "3.pid"),
		"--config-file", filepath.Join(e.dir, "daemon.json"), "--bridge", "bt3", "-H", "unix://"+e.socket)
	if out, err := sameSocket.CombinedOutput(); err == nil || !strings.Contains(string(out), e.socket) {
		t.Errorf("a second bothyd on the same socket: %v: %s", err, out)
	}
	if got := e.bothy(t, "version", "-f", "{{.Server.Os}}"); got != "linux" {
		t.Errorf("the first one answers %q", got)
	}
}

func TestBadBodies(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", e.socket)
	}}}
	cases := []struct {
		method, path string
		body         []byte
		want         int
	}{
		{"POST", "/v1.45/containers/create", []byte("{"), 400},
		{"POST", "/v1.45/containers/create", []byte(`{"Image": 7}`), 400},
		{"POST", "/v1.45/containers/create", append([]byte(`{"Image":"`), bytes.Repeat([]byte("a"), 16<<20)...), 413},
		{"POST", "/v1.45/containers/create?name=" + strings.Repeat("n", 5000), []byte(`{"Image":"busybox"}`), 400},
		{"POST", "/v1.45/containers/create", []byte(`{"Image":"no/such:image"}`), 404},
		{"GET", "/v1.45/containers/none/json", nil, 404},
		{"GET", "/v9.99/info", nil, 400},
		{"POST", "/v1.45/commit", nil, 404},
		{"POST", "/v1.45/volumes/create", []byte("{}"), 501},
		{"GET", "/v1.45/nonsense", nil, 404},
	}
	for _, c := range cases {
		req, err := http.NewRequest(c.method, "http://engine"+c.path, bytes.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.Errorf("%s %.60s: %v", c.method, c.path, err)
			continue
		}
		var answer struct{ Message string }
		err = json.NewDecoder(resp.Body).Decode(&answer)
		resp.Body.Close()
		if resp.StatusCode != c.want || err != nil || answer.Message == "" {
			t.Errorf("%s %.60s: status %d, want %d; message %q (%v)", c.method, c.path, resp.StatusCode, c.want, answer.Message, err)
		}
	}
}
