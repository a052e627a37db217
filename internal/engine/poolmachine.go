package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"bothy/internal/network"
	"bothy/internal/shimapi"
	"bothy/internal/shimclient"
	"bothy/internal/vm/ext4"
	"bothy/internal/vm/template"
)

// poolName names what belongs to machines that wait: a directory below the exec
// root with one for each, and another below the data root with their disks.
const poolName = "pool"

// poolRestoreTimeout bounds the time in which a machine goes on from its
// template.
const poolRestoreTimeout = 30 * time.Second

// vmPool makes machines that wait.
type vmPool struct {
	opts      Options
	program   *os.File // the shim
	templates *templates
	practice  *practice
	taps      tapMaker
}

// tapMaker makes taps ahead; package network's Manager is the real one.
type tapMaker interface {
	MakeSpareTap(id string, uid uint32) (*network.SpareTap, error)
}

func (v *vmPool) dir(id string) string { return filepath.Join(v.opts.ExecRoot, poolName, id) }

// cgroup is what a machine is in until it is a container's.
func (v *vmPool) cgroup(id string) string { return filepath.Join("/", v.opts.CgroupParent, id) }

func (v *vmPool) diskDir() string { return filepath.Join(v.opts.DataRoot, "vm", poolName) }

// sweep removes what is left of the machines of a bothyd that is no more. They
// end by themselves.
func (v *vmPool) sweep() error {
	left, err := os.ReadDir(v.dir(""))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for what is left of machines that waited: %w", err)
	}
	for _, e := range left {
		removeEmptyCgroup("/sys/fs/cgroup", v.cgroup(e.Name()))
	}
	if err := errors.Join(os.RemoveAll(v.dir("")), os.RemoveAll(v.diskDir())); err != nil {
		return fmt.Errorf("removing what is left of machines that waited: %w", err)
	}
	return nil
}

// Has says whether there is a template of the shape.
func (v *vmPool) Has(shape template.Shape) bool { return v.templates.store.Has(shape.Digest()) }

// Make makes a machine of the shape, and returns when it waits.
func (v *vmPool) Make(ctx context.Context, id string, job templateJob) (_ waitingMachine, err error) {
	t, why := v.templates.take(ctx, job.shape, job.clock)
	if t == nil {
		return nil, errors.New(why)
	}
	defer t.Close()
	rehearsal, err := v.practice.files(ctx)
	if err != nil {
		return nil, err
	}
	w := &poolMachine{dir: v.dir(id), disk: filepath.Join(v.diskDir(), id+".img")}
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), poolEndTimeout)
			defer cancel()
			w.Close(ctx)
		}
	}()
	if err := w.prepare(t.Disk); err != nil {
		return nil, diskError(err)
	}
	machine := job.machine
	machine.UID = machineUser(id)
	machine.GID, machine.BootTimeout, machine.Template = machine.UID, poolRestoreTimeout, &shimapi.Template{Digest: t.Digest.String()}
	if w.tap, err = v.taps.MakeSpareTap(id, machine.UID); err != nil {
		return nil, err
	}
	defer w.tap.File.Close()
	w.blank, err = shimclient.StartBlank(shimclient.BlankOptions{
		Binary: v.opts.Shim, Executable: v.program, Dir: w.dir, Files: []*os.File{w.tap.File, t.Memory, t.State},
		Prepare: shimapi.PoolPrepare{
			Machine: machine, Disk: w.disk, Cgroup: v.cgroup(id),
			Filters: filtersDir(v.opts), Practice: rehearsal,
		},
	})
	if err != nil {
		return nil, err
	}
	_, err = w.blank.Ready(ctx)
	return w, err
}

// poolMachine is a machine that waits, with what the pool made for it.
type poolMachine struct {
	blank *shimclient.Blank // nil: it was not started
	tap   *network.SpareTap // its file is closed: the shim has it
	dir   string            // of its console and its shim's messages
	disk  string            // the path of its writable disk
}

// prepare makes the directory and the disk, a copy of the template's.
func (w *poolMachine) prepare(disk *os.File) error {
	if err := os.MkdirAll(w.dir, 0o710); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(w.disk), 0o700); err != nil {
		return err
	}
	return ext4.Clone(fmt.Sprintf("/proc/self/fd/%d", disk.Fd()), w.disk)
}

// Assign gives it to a container.
func (w *poolMachine) Assign(ctx context.Context, id, bundle string) (task, error) {
	c, err := w.blank.Claim(ctx, id, bundle)
	if err != nil {
		return nil, err
	}
	return programTask{c.Task, c}, nil
}

// Tap is what it is joined to a network by.
func (w *poolMachine) Tap() *network.SpareTap { return w.tap }

// GiveDisk moves its writable disk, which it has mounted, to path.
func (w *poolMachine) GiveDisk(path string) error { return os.Rename(w.disk, path) }

// Done is closed when the shim has ended.
func (w *poolMachine) Done() <-chan struct{} { return w.blank.Done() }

// Close ends the machine if it is no container's, and removes what was made.
func (w *poolMachine) Close(ctx context.Context) {
	if w.blank != nil {
		w.blank.Close(ctx)
	}
	// What stays is removed when the next bothyd starts.
	_, _ = os.RemoveAll(w.dir), os.Remove(w.disk)
}
