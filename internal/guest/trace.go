package guest

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"bothy/internal/shimapi"
)

// debugWord on the kernel's command line makes PID 1 write to the console when
// each step of the start has ended.
const debugWord = "bothy.debug"

// tracer writes the time since the kernel's start after each step: to the
// console, to the host, or to nobody.
type tracer struct {
	console bool

	mu   sync.Mutex     // guards host
	host io.WriteCloser // nil: does not ask
}

func newTracer() *tracer {
	line, _ := os.ReadFile("/proc/cmdline")
	for _, word := range strings.Fields(string(line)) {
		if word == debugWord {
			return &tracer{console: true}
		}
	}
	return &tracer{}
}

func (t *tracer) mark(step string) {
	if t.console {
		fmt.Fprintf(os.Stdout, "bothy: %7.3f %s\n", uptime().Seconds(), step)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.host != nil {
		_, _ = fmt.Fprintf(t.host, "%d %s\n", uptime().Microseconds(), step) // a lost line is lost
	}
}

// tell begins to tell the host, see shimapi.GuestOptions.
func (t *tracer) tell(ctx context.Context, s streams) {
	out, err := s.OpenOutput(ctx, shimapi.TraceStream)
	if err != nil {
		return // no start fails for its trace
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.host = out
}

// end stops telling the host.
func (t *tracer) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.host != nil {
		t.host.Close()
		t.host = nil
	}
}
