package trace

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const id = "1f0c9d3b7a55e4b6c8d0"

func read(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(strings.TrimSuffix(string(data), "\n"), "\n")
}

func TestLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "trace")
	engine, err := Open(path, id, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	shim, err := Open(path, id, engine.Origin())
	if err != nil {
		t.Fatal(err)
	}
	engine.MarkAt(5*time.Second, "engine", "request")
	shim.MarkAt(5*time.Second+1382*time.Microsecond+7, "shim", "rootfs\nmounted")
	engine.MarkAt(7*time.Second, "engine", "answered")
	engine.Close()
	shim.Close()
	shim.Mark("shim", "lost") // after Close
	got := strings.Join(read(t, path), "")
	want := "0.000 engine[1f0c9d3b7a55] request\n1.382 shim[1f0c9d3b7a55] rootfs mounted\n2000.000 engine[1f0c9d3b7a55] answered"
	if got != want {
		t.Errorf("the trace is\n%s\nwant\n%s", got, want)
	}
}

func TestNone(t *testing.T) {
	t.Parallel()
	var none *Timeline
	none.Mark("engine", "request")
	none.Marker("engine")("request")
	none.Close()
	if none.Origin() != 0 {
		t.Error("no time line has an origin")
	}
	if _, err := Open(filepath.Join(t.TempDir(), "missing", "trace"), id, 0); err == nil {
		t.Error("a trace in a directory that is not there was opened")
	}
}

// TestWholeLines has many writers with files of their own, as processes have.
func TestWholeLines(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 200
	path := filepath.Join(t.TempDir(), "trace")
	var all sync.WaitGroup
	for range writers {
		line, err := Open(path, id, Now())
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			defer line.Close()
			mark := line.Marker("shim")
			for range each {
				mark("a phase")
			}
		})
	}
	all.Wait()
	lines := read(t, path)
	if len(lines) != writers*each {
		t.Errorf("%d lines, want %d", len(lines), writers*each)
	}
	whole := regexp.MustCompile(`^\d+\.\d{3} shim\[1f0c9d3b7a55\] a phase\n?$`)
	for _, l := range lines {
		if !whole.MatchString(l) {
			t.Fatalf("the line %q is not whole", l)
		}
	}
}
