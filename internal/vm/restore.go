package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"

	"bothy/internal/vm/link"
	"bothy/internal/vm/qmp"
)

// restoreTimeout bounds the time from starting QEMU to a machine that goes on
// from its template: it takes some hundredths of a second.
const restoreTimeout = 10 * time.Second

// restore starts QEMU and makes it go on from the configured template. The
// guest is not asked: it answers the first call.
func restore(ctx context.Context, c Config) (*Machine, error) {
	expired := fmt.Errorf("QEMU did not take the template's state within %s: %w", restoreTimeout, errdefs.ErrUnavailable)
	ctx, cancel := context.WithTimeoutCause(ctx, restoreTimeout, expired)
	defer cancel()
	m, err := resume(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("going on from the template: %w", err)
	}
	return m, nil
}

func resume(ctx context.Context, c Config) (*Machine, error) {
	state, err := reopened(c.Template.State)
	if err != nil {
		return nil, err
	}
	defer state.Close()
	how := arrangement{memory: c.Template.Memory, state: state}
	if c.Machine.OwnMemory {
		if how.memory, err = ownMemory(c.Template.Memory, c.Machine.Memory); err != nil {
			return nil, err
		}
		defer how.memory.Close() // QEMU has it
		how.own = true
	}
	m := newMachine(c)
	s, err := m.start(how)
	if err != nil {
		return nil, err
	}
	client, err := m.incoming(ctx, s.qmp)
	if err == nil {
		err = m.connect(ctx, s.link, link.Resume)
	}
	if err != nil {
		err = m.restoreError(ctx, err)
		m.abandon(s)
		return nil, err
	}
	go m.watchEvents(client)
	go m.watch()
	return m, nil
}

// Stillborn says that a machine went on from its template and ended before its
// guest did anything for a container: the template is of no use, and another
// machine can be booted in its place.
func (m *Machine) Stillborn() bool {
	return m.report.Restored && !m.report.Pooled && m.Err() != nil && m.task.exchange.silent()
}

// reopened opens a file once more, with an offset of its own.
func reopened(f *os.File) (*os.File, error) {
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("opening a template's file: %w", err)
	}
	return file, nil
}

// ignoreShared lets a migration leave out memory that both sides have in a file.
var ignoreShared = map[string]any{"capabilities": []any{map[string]any{"capability": "x-ignore-shared", "state": true}}}

// incoming gives QEMU the template's state and waits until the machine runs.
func (m *Machine) incoming(ctx context.Context, conn *os.File) (*qmp.Client, error) {
	client, err := qmp.New(ctx, conn)
	if err != nil {
		return nil, err
	}
	if err := client.Run(ctx, "migrate-set-capabilities", ignoreShared, nil); err != nil {
		return nil, err
	}
	from := map[string]any{"uri": fmt.Sprintf("fd:%d", m.stateFD)}
	if err := client.Run(ctx, "migrate-incoming", from, nil); err != nil {
		return nil, err
	}
	for {
		select {
		case e, ok := <-client.Events():
			if !ok {
				return nil, client.Err()
			}
			if e.Name == "RESUME" {
				return client, nil
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// restoreError finds the best explanation for a machine that did not go on.
func (m *Machine) restoreError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, refused := errors.AsType[*qmp.Error](err); refused {
		return err
	}
	select {
	case <-m.process.done:
		return fmt.Errorf("QEMU ended (%s): %w", m.process.reason(), errdefs.ErrUnavailable)
	case <-time.After(closeTimeout):
		return err
	}
}

// Template is a machine that was kept where it waits for its first container.
// Machines of the same kernel, initramfs, QEMU, processors and memory go on
// from it.
type Template struct {
	Memory *os.File // as large as the machine's memory: a sealed memory file that any user may open
	State  *os.File // of its devices, as QEMU writes it
}

// Close closes the files.
func (t *Template) Close() error { return errors.Join(t.Memory.Close(), t.State.Close()) }
