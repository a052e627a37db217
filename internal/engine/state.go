package engine

import (
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// State is where a container is in its life. The words are docker's.
type State = container.ContainerState

// operation is something that happens to a container: a request, or its end.
type operation string

const (
	opStart      operation = "start"
	opStop       operation = "stop"
	opKill       operation = "kill"
	opExit       operation = "exit" // the first process has ended
	opRemove     operation = "remove"
	opRemoveFail operation = "fail to remove"
	opRename     operation = "rename"
	opResize     operation = "resize"
	opAttach     operation = "attach"
	opExec       operation = "exec"
	opPause      operation = "pause"
	opUnpause    operation = "unpause"
	opTop        operation = "top"
	opUpdate     operation = "update"
)

// transitions has the state that follows for every operation that is allowed
// in a state. What is not in it is refused; see refusal.
var transitions = map[operation]map[State]State{
	opStart: {
		container.StateCreated: container.StateRunning,
		container.StateExited:  container.StateRunning,
	},
	// The state changes when the process ends, not when it is told to.
	opStop: {
		container.StateRunning:    container.StateRunning,
		container.StatePaused:     container.StatePaused,
		container.StateRestarting: container.StateRestarting,
	},
	opKill: {
		container.StateRunning: container.StateRunning,
		container.StatePaused:  container.StatePaused,
	},
	opExit: {
		container.StateRunning:    container.StateExited,
		container.StatePaused:     container.StateExited,
		container.StateRestarting: container.StateExited,
	},
	opRemove: {
		container.StateCreated: container.StateRemoving,
		container.StateExited:  container.StateRemoving,
		container.StateDead:    container.StateRemoving,
	},
	opRemoveFail: {
		container.StateRemoving: container.StateDead,
	},
	opRename: {
		container.StateCreated:    container.StateCreated,
		container.StateRunning:    container.StateRunning,
		container.StatePaused:     container.StatePaused,
		container.StateRestarting: container.StateRestarting,
		container.StateExited:     container.StateExited,
	},
	opResize: {
		container.StateRunning: container.StateRunning,
		container.StatePaused:  container.StatePaused,
	},
	opExec: {
		container.StateRunning: container.StateRunning,
	},
	opPause: {
		container.StateRunning: container.StatePaused,
	},
	opUnpause: {
		container.StatePaused: container.StateRunning,
	},
	opTop: {
		container.StateRunning: container.StateRunning,
		container.StatePaused:  container.StatePaused,
	},
	opUpdate: {
		container.StateCreated:    container.StateCreated,
		container.StateRunning:    container.StateRunning,
		container.StatePaused:     container.StatePaused,
		container.StateRestarting: container.StateRestarting,
		container.StateExited:     container.StateExited,
	},
	// A client may attach before the start and then sees the first byte.
	opAttach: {
		container.StateCreated:    container.StateCreated,
		container.StateRunning:    container.StateRunning,
		container.StateRestarting: container.StateRestarting,
		container.StateExited:     container.StateExited,
	},
}

// namesID says that docker's refusals of an operation name the container's ID.
func (op operation) namesID() bool {
	switch op {
	case opKill, opResize, opExec, opPause, opUnpause, opTop:
		return true
	}
	return false
}

// running says that a container in this state has a process.
func running(s State) bool {
	return s == container.StateRunning || s == container.StatePaused
}

// next gives the state after op. The error names the container as ref and has
// the kind and the words that docker's clients expect.
func next(ref string, s State, op operation) (State, error) {
	if to, ok := transitions[op][s]; ok {
		return to, nil
	}
	return s, refusal(ref, s, op)
}

func refusal(ref string, s State, op operation) error {
	switch {
	case s == container.StateRemoving && op == opRemove:
		return failure(errdefs.ErrConflict, "removal of container %s is already in progress", ref)
	case s == container.StateRemoving || s == container.StateDead:
		return failure(errdefs.ErrConflict, "cannot %s container %s: it is marked for removal", op, ref)
	case op == opStart && s == container.StatePaused:
		return failure(errdefs.ErrConflict, "cannot start a paused container, try unpause instead")
	case op == opStart:
		return failure(errdefs.ErrNotModified, "container %s is already running", ref)
	case op == opStop:
		return failure(errdefs.ErrNotModified, "container %s is already stopped", ref)
	case op == opRemove && s == container.StatePaused:
		return failure(errdefs.ErrConflict, "cannot remove container %q: container is paused and must be unpaused first", "/"+ref)
	case op == opRemove:
		return failure(errdefs.ErrConflict, "cannot remove container %q: container is %s: stop the container before removing or force remove", "/"+ref, s)
	case op == opExec && s == container.StatePaused:
		return failure(errdefs.ErrConflict, "container %s is paused, unpause the container before exec", ref)
	case (op == opExec || op == opPause || op == opTop) && s == container.StateRestarting:
		return failure(errdefs.ErrConflict, "container %s is restarting, wait until the container is running", ref)
	case op == opPause && s == container.StatePaused:
		return failure(errdefs.ErrConflict, "container %s is already paused", ref)
	case op == opUnpause:
		return failure(errdefs.ErrConflict, "container %s is not paused", ref)
	case op.namesID():
		return failure(errdefs.ErrConflict, "container %s is not running", ref)
	case op == opAttach && s == container.StatePaused:
		return failure(errdefs.ErrConflict, "container %s is paused: unpause the container before attach", ref)
	}
	return failure(errdefs.ErrConflict, "cannot %s container %s: it is %s", op, ref, s)
}
