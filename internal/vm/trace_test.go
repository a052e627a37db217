package vm

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReadTrace(t *testing.T) {
	t.Parallel()
	var phases []string
	var times []time.Duration
	readTrace(strings.NewReader("1000 first\n2500 second one\nnonsense\n3000 late\n"), func(at time.Duration, phase string) {
		phases, times = append(phases, phase), append(times, at)
	})
	if !slices.Equal(phases, []string{"first", "second one"}) || times[1]-times[0] != 1500*time.Microsecond {
		t.Errorf("got %q at %v", phases, times)
	}
}

func FuzzTraceLine(f *testing.F) {
	for _, s := range []string{"", " ", "1 x", "-1 x", "99999999999999999999 x", "1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if since, _, ok := parseTraceLine(line); ok && since < 0 {
			t.Errorf("%q gives %v", line, since)
		}
	})
}
