package executor

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// startTasks is how many processes and threads a process may take, under the
// container's limit, until it has become its program: those of Go's runtime.
const startTasks = 8

// crowdedError says instead of err that a running container has no room for a
// further process, if that is so: libcontainer's error tells only which of its
// steps got no thread.
func (c *container) crowdedError(p *process, err error) error {
	if p == c.init || namesUserFault(err.Error()) {
		return err
	}
	st, serr := c.cgroup.GetStats()
	if serr != nil {
		return err
	}
	now, limit := st.PidsStats.Current, st.PidsStats.Limit
	if limit == 0 || now+startTasks <= limit {
		return err
	}
	text := fmt.Sprintf("starting %s: %d of the %d processes and threads that the container's limit allows are there, and a start takes up to %d: end some, or raise the limit",
		p.what, now, limit, startTasks)
	return &taskError{kind: errdefs.ErrResourceExhausted, text: text, cause: err}
}
