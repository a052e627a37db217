package shim_test

import (
	"bufio"
	"context"
	"encoding/json"
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
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
)

// engineArg makes the test program the engine's stand-in.
const engineArg = "engine-that-will-be-killed"

// engine starts a shim (options from stdin), attaches to its container when
// told to, reads a little and then nothing any more.
func engine() int {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return 1
	}
	var opts shimclient.Options
	if err := json.Unmarshal(line, &opts); err != nil {
		return 1
	}
	client, err := shimclient.Start(context.Background(), opts)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("started")
	if _, err := in.ReadBytes('\n'); err != nil {
		return 1
	}
	conn, _, err := client.Attach(context.Background(), shimapi.AttachRequest{Stdin: true, Stdout: true})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("attached")
	if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
		return 1
	}
	fmt.Println("read")
	select {}
}

func TestOutputSurvivesTheEngine(t *testing.T) {
	b := prepareBox(t)
	b.opts.Executable = nil // it cannot be passed as JSON
	cmd := exec.Command("/proc/self/exe", engineArg)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	said := bufio.NewScanner(stdout)
	tell := func(text, answer string) {
		t.Helper()
		if text != "" {
			fmt.Fprintln(input, text)
		}
		if !said.Scan() || said.Text() != answer {
			t.Fatalf("the engine said %q, not %q", said.Text(), answer)
		}
	}
	opts, err := json.Marshal(b.opts)
	if err != nil {
		t.Fatal(err)
	}
	tell(string(opts), "started")
	if b.client, err = shimclient.Dial(b.ctx, b.bundle); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.Task.Connect(b.ctx, &taskAPI.ConnectRequest{ID: b.id}); err != nil {
		t.Fatal(err)
	}
	if err := b.client.Close(); err != nil {
		t.Fatal(err)
	}
	if b.client, err = shimclient.Dial(b.ctx, b.bundle); err != nil { // finds the pid now
		t.Fatal(err)
	}
	t.Cleanup(b.remove)

	const count = 3000
	b.create(script(fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo $i; usleep 500; i=$((i+1)); done", count)), stdin(false))
	tell("attach", "attached")
	b.start()
	tell("", "read")
	if err := cmd.Process.Kill(); err != nil { // while output flows
		t.Fatal(err)
	}
	_ = cmd.Wait()
	again := b.attach(shimapi.AttachRequest{Stdout: true})
	out, _ := frames(t, again)
	if status := b.wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	if !strings.HasSuffix(numbers(0, count), out) || out == "" {
		t.Errorf("the second client got %d bytes that are not the end of the output", len(out))
	}
	if logged, _ := b.log(); logged != numbers(0, count) {
		t.Errorf("the log has %d lines instead of each number once", strings.Count(logged, "\n"))
	}
	b.delete()
}

func TestDeleteAfterKilledShim(t *testing.T) {
	b := newBox(t)
	b.create(script("echo ready; sleep 1000 & exec sleep 1000"))
	conn := b.attach(shimapi.AttachRequest{Stdout: true})
	b.start()
	if _, err := io.ReadFull(conn, make([]byte, 8+len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	resp, err := b.client.Task.Pids(b.ctx, &taskAPI.PidsRequest{ID: b.id})
	if err != nil || len(resp.Processes) == 0 {
		t.Fatal(resp, err)
	}
	if err := shimclient.Cleanup(b.ctx, b.opts); err == nil {
		t.Error("cleaned up under a living shim")
	}
	if err := unix.Kill(b.client.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-b.client.Done()
	if _, err := b.client.Task.Wait(b.ctx, &taskAPI.WaitRequest{ID: b.id}); !errdefs.IsUnavailable(err) {
		t.Errorf("Wait without a shim: %v", err)
	}
	if _, err := shimclient.Dial(b.ctx, b.bundle); !errdefs.IsNotFound(err) {
		t.Errorf("Dial without a shim: %v", err)
	}
	for range 2 {
		if err := shimclient.Cleanup(b.ctx, b.opts); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range resp.Processes {
		if err := unix.Kill(int(p.Pid), 0); err == nil && !zombie(int(p.Pid)) {
			t.Errorf("process %d lives on", p.Pid)
		}
	}
	if e := b.exit(); e.Status != 137 || e.Error == "" {
		t.Errorf("exit record %+v", e)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/bothy-shim-test/" + b.id); len(left) > 0 {
		t.Errorf("cgroups are left: %v", left)
	}
	if b.client, err = shimclient.Start(b.ctx, b.opts); err != nil { // over what the dead one left
		t.Fatal(err)
	}
	if _, err := shimclient.Start(b.ctx, b.opts); !errdefs.IsAlreadyExists(err) {
		t.Errorf("a second shim for one bundle: %v", err)
	}
}

func zombie(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(data), ") Z ")
}

// numbers are those of [from,to), one a line.
func numbers(from, to int) string {
	var s strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintln(&s, i)
	}
	return s.String()
}

// removeCgroups removes the parents of the tests' cgroups; the kernel takes a
// moment to let go of their children.
func removeCgroups() {
	for range 50 {
		left, _ := filepath.Glob("/sys/fs/cgroup/*/bothy-shim-test")
		if _, err := os.Stat("/sys/fs/cgroup/bothy-shim-test"); err == nil {
			left = append(left, "/sys/fs/cgroup/bothy-shim-test")
		}
		if len(left) == 0 {
			return
		}
		for _, dir := range left {
			_ = os.Remove(dir)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestKillWithStuckClient kills a container whose output a client holds back.
func TestKillWithStuckClient(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		b := newBox(t)
		b.create(script("exec yes"), func(s *specs.Spec, _ *shimapi.CreateOptions) { s.Process.Terminal = terminal })
		b.attach(shimapi.AttachRequest{Stdout: true}) // and never reads
		b.start()
		path := filepath.Join(b.state, "json.log")
		for last, same := int64(-1), 0; same < 5; time.Sleep(50 * time.Millisecond) {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if same++; info.Size() != last {
				last, same = info.Size(), 0
			}
		}
		if _, err := b.client.Task.Kill(b.ctx, &taskAPI.KillRequest{ID: b.id, Signal: uint32(unix.SIGKILL)}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if status := b.wait(); status != 137 {
			t.Errorf("status %d", status)
		}
		t.Logf("terminal %v: ended after %s", terminal, time.Since(begin))
	}
}
