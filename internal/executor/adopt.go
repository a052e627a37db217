package executor

import (
	"context"
	"errors"
	"reflect"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// PhaseMovedIn is the phase that only a container has that is made of a zygote.
const PhaseMovedIn = "container made ahead moved into its root file system"

// fits says whether a container of that spec can be made of the zygote. The root
// file system is mounted, and has by then all mount points that it needs.
func (z *zygote) fits(spec *specs.Spec) bool {
	if checkProcess(spec.Process) != nil {
		return false
	}
	wanted, ok := shapeOf(spec)
	made, _ := shapeOf(z.spec)
	return ok && made.is(wanted) && preparePoints(spec)
}

// become makes the container of a zygote: the first process then waits for
// start. On an error nothing is left of the zygote.
func (c *container) become(ctx context.Context, z *zygote) error {
	st, err := openStdio(ctx, c.options.Streams, c.init.names)
	if err != nil {
		return errors.Join(err, z.discard())
	}
	err = c.equip(z, st)
	if err == nil {
		err = st.started()
	}
	if err != nil {
		st.abandon()
		return errors.Join(err, z.discard())
	}
	c.lc, c.cgroup, c.zygote = z.lc, z.cgroup, z
	c.init.running(z.lp, z.pid, st)
	go c.watch(c.init, z.ended)
	c.options.mark("first process up to its exec")
	return nil
}

// equip gives a zygote all that makes it this container.
func (c *container) equip(z *zygote, st *stdio) error {
	err := z.moveIn(c.spec)
	z.leave()
	if err != nil { // in words alone, as those of a first process that does it itself
		return startError(errors.New(err.Error()), "starting %s", c.init.what)
	}
	c.options.mark(PhaseMovedIn)
	if err := c.limit(z); err != nil {
		return err
	}
	if err := c.order(z, st); err != nil {
		return err
	}
	if c.options.Mounted == nil {
		return nil
	}
	return c.options.Mounted(c.id)
}

// limit sets the limits that the zygote does not have yet.
func (c *container) limit(z *zygote) error {
	if err := c.limitCgroup(z); err != nil {
		return err
	}
	limits, err := rlimits(c.spec.Process.Rlimits)
	if err != nil {
		return err
	}
	for _, r := range limits {
		if err := unix.Prlimit(z.pid, r.Type, &unix.Rlimit{Cur: r.Soft, Max: r.Hard}, nil); err != nil {
			return startError(err, "starting %s: error setting rlimit type %v", c.init.what, r.Type)
		}
	}
	return nil
}

func (c *container) limitCgroup(z *zygote) error {
	if reflect.DeepEqual(z.spec.Linux.Resources, c.spec.Linux.Resources) {
		return nil
	}
	fresh, err := containerConfig(c.id, c.bundle, c.spec)
	if err != nil {
		return err
	}
	config := z.lc.Config()
	cgroup := *config.Cgroups
	cgroup.Resources, config.Cgroups = fresh.Cgroups.Resources, &cgroup
	return wrap(z.lc.Set(config), "limiting container %s", c.id)
}

// cgroupOf opens the cgroup of a container that has a process.
func cgroupOf(lc *libcontainer.Container) (cgroups.Manager, error) {
	s, err := lc.State()
	if err != nil {
		return nil, err
	}
	return manager.NewWithPaths(lc.Config().Cgroups, s.CgroupPaths)
}
