package vm

import (
	"os"
	"strings"
	"time"
)

// readTSC reads the processor's time stamp counter.
func readTSC() uint64

// tscInterval is how long the counter is watched; tscError bounds, in counts, the
// doubt about when a clock was read.
const (
	tscInterval = 5 * time.Millisecond
	tscError    = 5000
)

// clocksourcePath says what the host's kernel tells the time by.
const clocksourcePath = "/sys/devices/system/clocksource/clocksource0/current_clocksource"

// hostTSC describes this host's counter, which the kernel knows best to be steady.
func hostTSC() TSC {
	source, _ := os.ReadFile(clocksourcePath)
	return TSC{KHz: tscKHz(), Steady: strings.TrimSpace(string(source)) == "tsc"}
}

// tscKHz measures the rate of the time stamp counter, which emulation hands to a
// guest as it is. A guest that finds out by itself, on a host with much to do,
// may be wrong by a factor of ten, and so is every clock in it.
func tscKHz() int {
	c0, t0 := tscAndTime()
	time.Sleep(tscInterval)
	c1, t1 := tscAndTime()
	elapsed := t1.Sub(t0).Nanoseconds()
	if elapsed <= 0 || c1 <= c0 {
		return 0
	}
	return int(float64(c1-c0) / float64(elapsed) * 1e6)
}

// tscAndTime reads counter and clock at one moment.
func tscAndTime() (count uint64, now time.Time) {
	for range 100 {
		before := readTSC()
		now = time.Now()
		after := readTSC()
		count = before + (after-before)/2
		if after-before < tscError {
			break
		}
	}
	return count, now
}
