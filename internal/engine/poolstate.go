package engine

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// poolState is where a machine of the pool is in its life.
type poolState string

const (
	poolStarting poolState = "starting"
	poolReady    poolState = "ready"   // it waits
	poolClaimed  poolState = "claimed" // it is a container's, or about to be
	poolGone     poolState = "gone"
)

// poolOperation is something that happens to a machine of the pool.
type poolOperation string

const (
	poolRise poolOperation = "rise" // it has practised and waits
	poolTake poolOperation = "take" // a container gets it
	poolDrop poolOperation = "drop" // it ended, or nobody is to have it any more
)

// poolTransitions has the state that follows for every operation that is allowed
// in a state. No machine comes back: each serves one container at most.
var poolTransitions = map[poolOperation]map[poolState]poolState{
	poolRise: {poolStarting: poolReady},
	poolTake: {poolReady: poolClaimed},
	poolDrop: {poolStarting: poolGone, poolReady: poolGone, poolClaimed: poolGone},
}

// move gives the state after op.
func (s poolState) move(op poolOperation) (poolState, error) {
	to, ok := poolTransitions[op][s]
	if !ok {
		return s, fmt.Errorf("a machine of the pool that is %s cannot %s: %w", s, op, errdefs.ErrFailedPrecondition)
	}
	return to, nil
}
