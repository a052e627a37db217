package executor

import (
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
)

// state is where a container or one of its further processes stands.
type state int

const (
	stateCreated state = iota
	stateRunning
	statePaused // containers only
	stateStopped
	stateDeleted
)

func (s state) String() string {
	return [...]string{"created", "running", "paused", "stopped", "deleted"}[s]
}

// status is the state in containerd's words.
func (s state) status() task.Status {
	return [...]task.Status{
		task.Status_CREATED, task.Status_RUNNING, task.Status_PAUSED, task.Status_STOPPED, task.Status_UNKNOWN,
	}[s]
}

// operation is what can be asked of a container or process.
type operation string

const (
	opStart   operation = "start"
	opExec    operation = "exec in"
	opKill    operation = "kill"
	opPause   operation = "pause"
	opResume  operation = "resume"
	opUpdate  operation = "update"
	opResize  operation = "resize the terminal of"
	opCloseIO operation = "close stdin of"
	opStats   operation = "read statistics of"
	opPids    operation = "list processes of"
	opDelete  operation = "delete"
)

// allowed is the whole lifecycle: the states in which each operation may be
// asked for. State and Wait are always allowed and not listed.
var allowed = map[operation][]state{
	opStart:   {stateCreated},
	opExec:    {stateRunning},
	opKill:    {stateCreated, stateRunning, statePaused},
	opPause:   {stateRunning},
	opResume:  {statePaused},
	opUpdate:  {stateCreated, stateRunning, statePaused},
	opResize:  {stateCreated, stateRunning, statePaused},
	opCloseIO: {stateCreated, stateRunning, statePaused, stateStopped},
	opStats:   {stateCreated, stateRunning, statePaused, stateStopped},
	opPids:    {stateCreated, stateRunning, statePaused, stateStopped},
	opDelete:  {stateCreated, stateStopped},
}

// check says whether op may be done to what (a name for the error) in state s.
func check(op operation, s state, what string) error {
	for _, ok := range allowed[op] {
		if s == ok {
			return nil
		}
	}
	switch {
	case s == stateDeleted:
		return errorf(errdefs.ErrNotFound, "%s does not exist", what)
	case op == opKill && s == stateStopped: // containerd's words and kind
		return errorf(errdefs.ErrNotFound, "process already finished: %s", what)
	}
	return errorf(errdefs.ErrFailedPrecondition, "cannot %s %s: it is %s", op, what, s)
}
