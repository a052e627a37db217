package executor

import (
	"errors"
	"time"

	"github.com/opencontainers/runc/libcontainer"
)

// freezePatience bounds the attempts to pause a container; each of them takes a
// fifth of a second or more.
const freezePatience = 10 * time.Second

func (c *container) pause() error {
	c.ops.Lock()
	defer c.ops.Unlock()
	if err := c.init.allow(opPause); err != nil {
		return err
	}
	if err := c.freeze(); err != nil {
		return wrap(err, "pausing container %s", c.id)
	}
	c.init.settle(statePaused)
	return nil
}

// freeze pauses. With cgroup v1 it takes more than one attempt where processes
// wait for a slow disk, or new ones keep coming.
func (c *container) freeze() error {
	for deadline := time.Now().Add(freezePatience); ; {
		err := c.lc.Pause()
		if err == nil || errors.Is(err, libcontainer.ErrNotRunning) || time.Now().After(deadline) || c.init.view().state != stateRunning {
			return err
		}
	}
}

func (c *container) resume() error {
	c.ops.Lock()
	defer c.ops.Unlock()
	if err := c.init.allow(opResume); err != nil {
		return err
	}
	if err := c.lc.Resume(); err != nil {
		return wrap(err, "resuming container %s", c.id)
	}
	c.init.settle(stateRunning)
	return nil
}
