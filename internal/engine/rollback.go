package engine

import (
	"context"
	"time"
)

// rollbackTimeout bounds the undoing of one sequence.
const rollbackTimeout = 30 * time.Second

// rollback undoes the steps of a sequence, the last first.
type rollback []func(context.Context)

// add registers what undoes the step that has just been done.
func (r *rollback) add(undo func(context.Context)) { *r = append(*r, undo) }

// run undoes all steps, even if ctx has ended.
func (r rollback) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	for i := len(r) - 1; i >= 0; i-- {
		r[i](ctx)
	}
}
