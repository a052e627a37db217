package vm

import (
	"bufio"
	"io"
	"strconv"
	"strings"
	"time"

	"bothy/internal/trace"
)

// Bounds of what is read of a guest's trace.
const (
	maxTraceLine  = 256 // bytes
	maxTraceLines = 1000
)

// readTrace reads a guest's trace (see shimapi.GuestOptions) and tells of each
// phase at its time on this host. The guest's clock counts from its own boot,
// so the arrival of the first line is taken for its time.
func readTrace(r io.Reader, tell func(at time.Duration, phase string)) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxTraceLine), maxTraceLine)
	var ahead time.Duration // of this host's clock
	for n := 0; n < maxTraceLines && lines.Scan(); n++ {
		since, phase, ok := parseTraceLine(lines.Text())
		if !ok {
			break
		}
		if n == 0 {
			ahead = trace.Now() - since
		}
		tell(since+ahead, phase)
	}
	_, _ = io.Copy(io.Discard, r)
}

func parseTraceLine(line string) (since time.Duration, phase string, ok bool) {
	number, phase, ok := strings.Cut(line, " ")
	micros, err := strconv.ParseUint(number, 10, 50)
	return time.Duration(micros) * time.Microsecond, phase, ok && err == nil
}
