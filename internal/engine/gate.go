package engine

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
)

// gate bounds how many machines start at a time. A starting machine keeps more
// than one of the host's processors busy, above all an emulated one: many at
// once hold each other up, and all of them are ready later than one after the
// other.
type gate chan struct{}

// newGate makes a gate for n starts at a time, at least one.
func newGate(n int) gate { return make(gate, max(1, n)) }

// enter waits for its turn. The caller calls leave when its start is over.
func (g gate) enter(ctx context.Context) (leave func(), err error) {
	select {
	case g <- struct{}{}:
		return func() { <-g }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for other virtual machines to start: %w: %w", context.Cause(ctx), errdefs.ErrAborted)
	}
}
