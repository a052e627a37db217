package engine

import (
	"fmt"
	"strings"
	"time"
)

// stopwatch notes how long the phases of something took.
type stopwatch struct {
	last time.Time
	laps []string
}

func newStopwatch() *stopwatch { return &stopwatch{last: time.Now()} }

func (w *stopwatch) lap(name string) {
	now := time.Now()
	w.laps = append(w.laps, fmt.Sprintf("%s %s", name, now.Sub(w.last).Round(10*time.Microsecond)))
	w.last = now
}

func (w *stopwatch) String() string { return strings.Join(w.laps, ", ") }
