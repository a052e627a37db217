package vm

import "testing"

func TestTSCIsSteady(t *testing.T) {
	t.Parallel()
	a, b := hostTSC().KHz, hostTSC().KHz
	if a == 0 {
		t.Skip("no time stamp counter")
	}
	if d := float64(a-b) / float64(a); d > 0.001 || d < -0.001 {
		t.Errorf("measured %d and %d kHz", a, b)
	}
	t.Logf("%d kHz, %d kHz", a, b)
}
