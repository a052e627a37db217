package executor

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"
)

// TestEveryStateWithEveryOperation spells the table out once more: a letter per
// state in the order created, running, paused, stopped, deleted; "y" allowed,
// "p" failed precondition, "n" not found.
func TestEveryStateWithEveryOperation(t *testing.T) {
	t.Parallel()
	want := map[operation]string{
		opStart:   "ypppn",
		opExec:    "pyppn",
		opKill:    "yyynn",
		opPause:   "pyppn",
		opResume:  "ppypn",
		opUpdate:  "yyypn",
		opResize:  "yyypn",
		opCloseIO: "yyyyn",
		opStats:   "yyyyn",
		opPids:    "yyyyn",
		opDelete:  "yppyn",
	}
	if len(want) != len(allowed) {
		t.Errorf("%d operations expected, the table has %d", len(want), len(allowed))
	}
	for op, row := range want {
		for s := stateCreated; s <= stateDeleted; s++ {
			err := check(op, s, "container x")
			got := byte('y')
			switch {
			case errors.Is(err, errdefs.ErrFailedPrecondition):
				got = 'p'
			case errors.Is(err, errdefs.ErrNotFound):
				got = 'n'
			case err != nil:
				got = '?'
			}
			if got != row[s] {
				t.Errorf("%s, %s: got %c, want %c (%v)", op, s, got, row[s], err)
			}
		}
	}
}

func TestStateStaysStopped(t *testing.T) {
	t.Parallel()
	p := newProcessEntry("c", "", names{}, nil)
	p.stop(exit{status: 3})
	p.stop(exit{status: 4})
	p.settle(stateRunning)
	if v := p.view(); v.state != stateStopped || v.exit.status != 3 {
		t.Errorf("got %v with status %d, want stopped with 3", v.state, v.exit.status)
	}
}
