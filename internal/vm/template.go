package vm

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"bothy/internal/shimapi"
	"bothy/internal/vm/link"
	"bothy/internal/vm/qmp"
)

// TemplateConfig describes a template to make.
type TemplateConfig struct {
	// Dir takes the console log, QEMU's process id and, while it is being
	// written, the state of the devices.
	Dir     string
	Machine shimapi.Machine // without interfaces
	// Disk is the path of an empty ext4 file. The template has it mounted, so
	// afterwards it belongs to the template: each machine gets a copy of it.
	Disk     string
	Practice Practice
	Tap      *os.File // on no bridge; the caller closes it
	// Started is Config.Started.
	Started func(pid int) error
}

// MakeTemplate boots a machine, runs the practice container in it, and keeps it
// where it waits for its first container. It takes as long as a boot and some
// tenths of a second, at most Machine.BootTimeout. When it fails nothing is
// left but Disk and what is in Dir.
func MakeTemplate(ctx context.Context, c TemplateConfig) (_ *Template, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("making a template for virtual machines: %w", err)
		}
	}()
	expired := fmt.Errorf("the machine was not ready to be kept within %s; its console is in %s: %w", c.Machine.BootTimeout, consolePath(c.Dir), errdefs.ErrUnavailable)
	ctx, cancel := context.WithTimeoutCause(ctx, c.Machine.BootTimeout, expired)
	defer cancel()
	t := &Template{}
	defer func() {
		if err != nil {
			t.discard()
		}
	}()
	if t.Memory, err = memoryFile(c.Machine.Memory); err != nil {
		return nil, err
	}
	if t.State, err = stateFile(c.Dir); err != nil {
		return nil, err
	}
	if err := c.keep(ctx, t); err != nil {
		return nil, err
	}
	return t, Seal(t.Memory)
}

func (t *Template) discard() {
	for _, f := range []*os.File{t.Memory, t.State} {
		if f != nil {
			f.Close()
		}
	}
}

// keep boots the machine and writes it to t.
func (c TemplateConfig) keep(ctx context.Context, t *Template) error {
	machine := c.Machine
	machine.Fresh = true
	config := Config{
		ID: "a template", Bundle: c.Dir, Machine: machine, Taps: []*os.File{c.Tap}, Started: c.Started,
		Rootfs: c.Practice.Rootfs(c.Disk), Streams: noStreams{},
	}
	m := newMachine(config)
	s, err := m.start(arrangement{memory: t.Memory})
	if err != nil {
		return err
	}
	client, err := qmp.New(ctx, s.qmp)
	if err == nil {
		err = m.connect(ctx, s.link, link.Host)
	} else {
		err = m.bootError(ctx, err)
	}
	if err != nil {
		m.abandon(s)
		return err
	}
	go m.watch()
	err = m.changeStream(ctx)
	if err == nil {
		err = m.rehearse(ctx, c.Practice, c.Disk)
	}
	if err == nil {
		err = m.leave(ctx)
	}
	if err == nil {
		err = migrate(ctx, client, t.State)
	}
	if err == nil {
		m.Close()
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	m.Kill()
	return err
}

// changeStream makes the machine's calls go over its link's second stream. The
// first is what a host that goes on from the template opens: in the guest it
// must be long gone, and the guest may be kept while the last one is just being
// put away.
func (m *Machine) changeStream(ctx context.Context) error {
	if err := m.leave(ctx); err != nil {
		return err
	}
	return m.task.open(m.session)
}

// leave lets go of the guest, as one that goes on from it finds it: with no host
// and no streams. It returns when the guest has seen that.
func (m *Machine) leave(ctx context.Context) error {
	if err := m.task.conn.Close(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { m.session.Close() })
	defer stop()
	_, err := io.Copy(io.Discard, m.task.stream)
	return err
}

// rehearse has the guest run what it will run later, so that as much of it as
// can be is done already.
func (m *Machine) rehearse(ctx context.Context, p Practice, disk string) error {
	if err := m.Rest(ctx); err != nil {
		return err
	}
	if err := m.Practise(ctx, p, disk); err != nil {
		return err
	}
	return m.Rest(ctx)
}

// memoryFile makes a machine's memory as a file. QEMU, which is somebody else,
// opens it by its descriptor.
func memoryFile(size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate("bothy-template", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("making a memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "template memory")
	err = f.Truncate(mebibytes(size) << 20)
	if err == nil {
		err = f.Chmod(0o666)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("making a memory file: %w", err)
	}
	return f, nil
}

// Seal makes a template's memory immutable, for machines that may not write to
// what others share. No process may have it mapped writable.
func Seal(memory *os.File) error {
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(memory.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("sealing the template's memory: %w", err)
	}
	return nil
}

// stateFile makes a file for the devices' state that has no name any more.
func stateFile(dir string) (*os.File, error) {
	path := filepath.Join(dir, "state.tmp")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keeping the devices' state: %w", err)
	}
	if err := os.Remove(path); err != nil {
		f.Close()
		return nil, fmt.Errorf("keeping the devices' state: %w", err)
	}
	return f, nil
}

// migratePoll is the time between two looks at a migration, which takes some
// milliseconds.
const migratePoll = 2 * time.Millisecond

// migrate writes the devices' state, and stops the machine. It was running, so
// what goes on from it runs.
func migrate(ctx context.Context, client *qmp.Client, state *os.File) error {
	if err := client.Run(ctx, "migrate-set-capabilities", ignoreShared, nil); err != nil {
		return err
	}
	if err := client.RunWithFile(ctx, "getfd", map[string]any{"fdname": "state"}, nil, state); err != nil {
		return err
	}
	if err := client.Run(ctx, "migrate", map[string]any{"uri": "fd:state"}, nil); err != nil {
		return err
	}
	for {
		var now struct {
			Status string `json:"status"`
			Desc   string `json:"error-desc"`
		}
		if err := client.Run(ctx, "query-migrate", nil, &now); err != nil {
			return err
		}
		switch now.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("QEMU could not write its state (%.200s): %w", now.Desc, errdefs.ErrUnavailable)
		}
		select {
		case <-time.After(migratePoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// noStreams are those of a container that nobody listens to.
type noStreams struct{}

func (noStreams) OpenInput(context.Context, string) (io.ReadCloser, error) {
	return io.NopCloser(eof{}), nil
}

func (noStreams) OpenOutput(context.Context, string) (io.WriteCloser, error) { return nowhere{}, nil }

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Close() error                { return nil }
