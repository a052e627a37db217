package engine

import (
	"fmt"
	"strings"
	"time"

	"bothy/internal/shimapi"
	"bothy/internal/trace"
)

// traceName is what a trace calls the engine.
const traceName = "engine"

// openTrace opens the trace for one start of a container, if there is to be one.
func (s *starter) openTrace(id string, asked time.Duration) *trace.Timeline {
	if s.opts.Trace == "" {
		return nil
	}
	t, err := trace.Open(s.opts.Trace, id, asked)
	if err != nil {
		s.log.Warn("a start is not traced", "container", id, "error", err)
		return nil
	}
	t.MarkAt(asked, traceName, "request")
	return t
}

// tracing tells a shim to trace, too.
func (s *starter) tracing(t *trace.Timeline) *shimapi.Trace {
	if t == nil {
		return nil
	}
	return &shimapi.Trace{Path: s.opts.Trace, Origin: t.Origin()}
}

// stopwatch notes how long the phases of something took, and in a trace when
// they were done.
type stopwatch struct {
	trace *trace.Timeline // nil: none
	last  time.Time
	laps  []string
}

func newStopwatch(t *trace.Timeline) *stopwatch { return &stopwatch{trace: t, last: time.Now()} }

func (w *stopwatch) lap(name string) {
	now := time.Now()
	w.trace.Mark(traceName, name)
	w.laps = append(w.laps, fmt.Sprintf("%s %s", name, now.Sub(w.last).Round(10*time.Microsecond)))
	w.last = now
}

func (w *stopwatch) String() string { return strings.Join(w.laps, ", ") }
