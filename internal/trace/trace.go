// Package trace writes down when the steps of a container's start happen: those
// of the engine, of the shim and of a guest on one time line, in one file, a
// line each:
//
//	<ms since the request> <who>[<container>] <phase>
//
//	1.382 engine[1f0c9d3b7a55] network attached
//
// Every writer adds whole lines to the end of the file, and all of them read
// the clock that counts from the machine's boot, so that lines of several
// processes and of several starts may be sorted after the fact. Lines are
// written as phases end, and thus nearly in order.
//
// It is a leaf: it imports nothing of bothy and knows no phase's name.
package trace

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// idLength is how much of a container's ID is in a line, in bytes.
const idLength = 12

// Timeline is one container's part of a trace. A nil one writes nothing, so
// that nobody has to ask whether there is a trace. Its methods may be called
// at the same time.
type Timeline struct {
	file   *os.File
	id     string
	origin time.Duration
}

// Now is the time since the machine's boot, the time asleep included. It is the
// same in all processes of a machine; a guest has one of its own.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // no kernel since 2.6.39 is without it
	}
	return time.Duration(ts.Nano())
}

// Open opens the trace at path, made if missing, for the container id. Origin is
// the time of the request that the start answers, as Now gives it. The caller
// closes the Timeline.
func Open(path, id string, origin time.Duration) (*Timeline, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the trace: %w", err)
	}
	return &Timeline{file: file, id: id[:min(len(id), idLength)], origin: origin}, nil
}

// Origin is the time from which the time line counts; 0 for none.
func (t *Timeline) Origin() time.Duration {
	if t == nil {
		return 0
	}
	return t.origin
}

// Close lets go of the file. Marks after it are lost.
func (t *Timeline) Close() {
	if t != nil {
		_ = t.file.Close()
	}
}

// Mark writes that who has just done phase.
func (t *Timeline) Mark(who, phase string) {
	if t != nil {
		t.MarkAt(Now(), who, phase)
	}
}

// MarkAt writes that who had done phase at a time that Now gave. A line that
// cannot be written is lost: no start fails for its trace.
func (t *Timeline) MarkAt(at time.Duration, who, phase string) {
	if t != nil {
		_, _ = t.file.WriteString(line(at-t.origin, who, t.id, phase))
	}
}

// Marker is Mark for one who, in a form that others can call who do not know of
// traces.
func (t *Timeline) Marker(who string) func(phase string) {
	return func(phase string) { t.Mark(who, phase) }
}

func line(since time.Duration, who, id, phase string) string {
	return strconv.FormatFloat(float64(since.Microseconds())/1000, 'f', 3, 64) + " " + who + "[" + id + "] " + oneLine(phase) + "\n"
}

// oneLine keeps a phase, which may name what others chose, to its line.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
