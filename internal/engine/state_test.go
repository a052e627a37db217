package engine

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// TestEveryStateWithEveryOperation is the table of transitions written a second
// time, in the words of what docker does: "=" stays, "!" is a conflict, "~" is
// not modified, else the state that follows.
func TestEveryStateWithEveryOperation(t *testing.T) {
	t.Parallel()
	states := []State{
		container.StateCreated, container.StateRunning, container.StatePaused, container.StateRestarting,
		container.StateRemoving, container.StateExited, container.StateDead,
	}
	want := map[operation][7]string{
		//             created     running   paused    restarting  removing  exited      dead
		opStart:      {"running", "~", "!", "~", "!", "running", "!"},
		opStop:       {"~", "=", "=", "=", "!", "~", "!"},
		opKill:       {"!", "=", "=", "!", "!", "!", "!"},
		opExit:       {"!", "exited", "exited", "exited", "!", "!", "!"},
		opRemove:     {"removing", "!", "!", "!", "!", "removing", "removing"},
		opRemoveFail: {"!", "!", "!", "!", "dead", "!", "!"},
		opRename:     {"=", "=", "=", "=", "!", "=", "!"},
		opResize:     {"!", "=", "=", "!", "!", "!", "!"},
		opAttach:     {"=", "=", "!", "=", "!", "=", "!"},
		opExec:       {"!", "=", "!", "!", "!", "!", "!"},
		opPause:      {"!", "paused", "!", "!", "!", "!", "!"},
		opUnpause:    {"!", "!", "running", "!", "!", "!", "!"},
		opTop:        {"!", "=", "=", "!", "!", "!", "!"},
		opUpdate:     {"=", "=", "=", "=", "!", "=", "!"},
	}
	if len(want) != len(transitions) {
		t.Fatalf("%d operations are described here, %d are in the table", len(want), len(transitions))
	}
	for op, row := range want {
		for i, s := range states {
			to, err := next("web", s, op)
			switch row[i] {
			case "!":
				if !errdefs.IsConflict(err) || errors.Is(err, errdefs.ErrNotModified) {
					t.Errorf("%s in %s: %v, want a conflict", op, s, err)
				}
			case "~":
				if !errors.Is(err, errdefs.ErrNotModified) {
					t.Errorf("%s in %s: %v, want not modified", op, s, err)
				}
			case "=":
				if err != nil || to != s {
					t.Errorf("%s in %s: %s, %v, want no change", op, s, to, err)
				}
			default:
				if err != nil || string(to) != row[i] {
					t.Errorf("%s in %s: %s, %v, want %s", op, s, to, err, row[i])
				}
			}
			if err != nil && to != s {
				t.Errorf("%s in %s: a refusal changed the state to %s", op, s, to)
			}
		}
	}
}
