package guest

import (
	"fmt"
	"os"
	"strings"
)

// debugWord on the kernel's command line makes PID 1 write to the console when
// each step of the start has ended.
const debugWord = "bothy.debug"

// tracer writes the time since the kernel's start after each step.
type tracer struct{ on bool }

func newTracer() tracer {
	line, _ := os.ReadFile("/proc/cmdline")
	for _, word := range strings.Fields(string(line)) {
		if word == debugWord {
			return tracer{on: true}
		}
	}
	return tracer{}
}

func (t *tracer) mark(step string) {
	if t.on {
		fmt.Fprintf(os.Stdout, "bothy: %7.3f %s\n", uptime().Seconds(), step)
	}
}
