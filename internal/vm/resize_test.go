package vm_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
)

// TestGrow gives a machine memory while its container runs.
func TestGrow(t *testing.T) {
	p := findParts(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*bootTimeout)
	defer cancel()
	streams := newMemStreams("")
	c := p.config(t, streams)
	c.Machine.MaxMemory = 16 << 30
	begin := time.Now()
	m := boot(t, c)
	t.Logf("booted after %s", time.Since(begin))
	create(ctx, t, m, c, spec("while :; do awk '/MemTotal/ {print $2}' /proc/meminfo; usleep 50000; done"), "")
	if _, err := m.Task().Start(ctx, &taskAPI.StartRequest{ID: c.ID}); err != nil {
		t.Fatal(err)
	}
	// The guest's kernel takes a part of it for itself.
	const own = 48 << 20
	for _, want := range []int64{200 << 20, 1 << 30, 1<<30 + 1, 12 << 30} {
		begin := time.Now()
		if err := m.Grow(ctx, want); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d MiB after %s", want>>20, time.Since(begin))
		for seen := int64(0); seen < want-own-want/64; {
			lines := strings.Split(strings.TrimSuffix(streams.text("out"), "\n"), "\n")
			if _, err := fmt.Sscan(lines[len(lines)-1], &seen); err == nil {
				seen <<= 10
			}
			if ctx.Err() != nil {
				t.Fatalf("the container sees %d bytes, want %d", seen, want)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if err := m.Grow(ctx, 17<<30); !errdefs.IsOutOfRange(err) || !strings.Contains(err.Error(), "16384 MiB at most") {
		t.Errorf("beyond what there is: %v", err)
	}
}
