package engine

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
)

// RemoveContainer removes the container; force kills it first if it runs.
// Anonymous volumes do not exist yet, so volumes changes nothing.
func (s *Containers) RemoveContainer(ctx context.Context, ref string, force, _ bool) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	ctx, done := s.unhurried(ctx)
	defer done()
	for {
		if force {
			if err := s.killForRemoval(ctx, c); err != nil {
				return err
			}
		}
		if err := c.acquire(ctx); err != nil {
			return err
		}
		if _, st := c.snapshot(); force && running(st.State) && !c.isGone() {
			c.release() // it was started meanwhile
			continue
		}
		defer c.release()
		if force && c.isGone() { // by its own AutoRemove
			return nil
		}
		if err := c.check(opRemove); err != nil {
			return err
		}
		return s.remove(c)
	}
}

func (s *Containers) killForRemoval(ctx context.Context, c *ctr) error {
	rec, st := c.snapshot()
	if !running(st.State) {
		return nil
	}
	if err := s.kill9(ctx, c, c.outputEnd()); err != nil {
		return fmt.Errorf("cannot remove container %q: could not kill: %w", rec.Name, err)
	}
	return nil
}

func (c *ctr) isGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// remove takes an ended container away. The caller has acquired it. When remove
// returns, no request finds it and its name is free; its data is deleted behind
// the answer.
func (s *Containers) remove(c *ctr) error {
	left, err := s.takeAway(c)
	if err != nil {
		return err
	}
	s.cleaning.Go(left)
	return nil
}

// takeAway is remove, but for the deletion of what is left of the container on
// disk and of its image, which it gives back. The caller does that last.
func (s *Containers) takeAway(c *ctr) (left func(), _ error) {
	if err := c.move(opRemove, nil); err != nil {
		return nil, err
	}
	cleanup, err := s.files.remove(c.id)
	if err != nil {
		if merr := c.move(opRemoveFail, func(st *status) { st.Error = err.Error() }); merr != nil {
			s.log.Error("marking a container as dead", "container", c.id, "error", merr)
		}
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInternal)
	}
	s.index.remove(c.id)
	rec, _ := c.snapshot()
	s.emit(events.ActionDestroy, rec)
	c.mu.Lock()
	c.gone = true
	c.st.Error = ""
	c.wakeLocked(true)
	c.mu.Unlock()
	c.dropPending()
	return func() {
		cleanup()
		s.collectLayersOf(rec.ImageID)
	}, nil
}

// collectLayersOf deletes the layers of an image that was removed before the
// last container that used it.
func (s *Containers) collectLayersOf(imageID string) {
	if _, err := s.images.Resolve(s.ctx, imageID); errdefs.IsNotFound(err) {
		s.collect()
	}
}

// collect deletes what no image and no container needs.
func (s *Containers) collect() {
	if err := s.images.Collect(s.ctx); err != nil && s.ctx.Err() == nil {
		s.log.Error("deleting what no image needs", "error", err)
	}
}
