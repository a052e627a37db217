package vm_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"

	"bothy/internal/vm/kernel"
)

// TestRunInMachine boots the kernel as it is, and uncompressed.
func TestRunInMachine(t *testing.T) {
	p := findParts(t)
	t.Run("image", func(t *testing.T) { runInMachine(t, p) })
	t.Run("uncompressed", func(t *testing.T) {
		var err error
		if p.kernel, err = kernel.Uncompressed(t.Context(), t.TempDir(), p.found); err != nil {
			t.Skip(err)
		}
		runInMachine(t, p)
	})
}

func runInMachine(t *testing.T, p parts) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*bootTimeout)
	defer cancel()
	streams := newMemStreams("hello")
	c := p.config(t, streams)
	begin := time.Now()
	step := func(what string) { t.Logf("%5d ms %s", time.Since(begin).Milliseconds(), what) }
	m := boot(t, c)
	step("booted")
	create(ctx, t, m, c, spec("cat; cat /base /upper; hostname; echo wrong >&2; date +%s; echo x > /new; exit 42"), "in")
	step("created")
	if _, err := m.Task().Start(ctx, &taskAPI.StartRequest{ID: c.ID}); err != nil {
		t.Fatal(err)
	}
	step("started")
	w, err := m.Task().Wait(ctx, &taskAPI.WaitRequest{ID: c.ID})
	if err != nil || w.ExitStatus != 42 {
		t.Fatalf("wait: %v, %v", w, err)
	}
	step("exited")
	out := streams.text("out")
	var clock int64
	fmt.Sscan(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:], &clock)
	if !strings.HasPrefix(out, "hellobaseupperguest-test\n") || streams.text("err") != "wrong\n" {
		t.Errorf("output %q, errors %q", out, streams.text("err"))
	}
	if off := time.Since(time.Unix(clock, 0)); off < -time.Minute || off > time.Minute {
		t.Errorf("the guest's clock is off by %s", off)
	}
	if _, err := m.Task().Delete(ctx, &taskAPI.DeleteRequest{ID: c.ID}); err != nil {
		t.Fatal(err)
	}
	step("deleted")
	m.Close()
	step("closed")
	if err := m.Err(); err != nil {
		t.Error(err)
	}
}
