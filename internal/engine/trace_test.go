package engine

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"bothy/internal/shimapi"
)

// TestTraceOfARun holds which phases the engine writes, and their order.
func TestTraceOfARun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "trace")
	r.Containers.starter.opts.Trace = path
	id := r.create("web", container.HostConfig{AutoRemove: true})
	shim := r.start("web")
	var opts shimapi.CreateOptions
	if err := json.Unmarshal(shim.created.Options.GetValue(), &opts); err != nil {
		t.Fatal(err)
	}
	if opts.Trace == nil || opts.Trace.Path != path || opts.Trace.Origin == 0 {
		t.Errorf("the shim was told to trace by %+v", opts.Trace)
	}
	go shim.end(0)
	r.await("web", container.WaitConditionRemoved)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var phases []string
	for line := range strings.Lines(string(data)) {
		_, phase, ok := strings.Cut(strings.TrimSpace(line), " engine["+id[:12]+"] ")
		if !ok {
			t.Errorf("the line %q is not the engine's", line)
		}
		phases = append(phases, phase)
	}
	want := []string{"request", "prepare", "shim", "create", "attach", "start", "recorded", "end seen", "removed", "cleared"}
	if !slices.Equal(phases, want) {
		t.Errorf("phases %q, want %q", phases, want)
	}
}
