package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"github.com/hashicorp/yamux"

	"bothy/internal/shimapi"
	"bothy/internal/vm/link"
	"bothy/internal/vm/qmp"
)

// PidFile is the file in a bundle with QEMU's decimal process id.
const PidFile = "qemu.pid"

// closeTimeout bounds each step of ending a machine.
const closeTimeout = 2 * time.Second

// Config describes a machine to boot.
type Config struct {
	ID      string // the container's
	Bundle  string // absolute path; the console log and the pid file go there
	Machine shimapi.Machine
	Rootfs  []*types.Mount // those of the Create request that will follow
	Taps    []*os.File     // one for each of Machine.Interfaces, at least one if there is a Template; the caller closes them
	Streams Streams        // where standard streams come from and go to; nil: nowhere
	// Filter, if not nil, returns what GuestOptions have in their field of that
	// name. It is called when the guest is up.
	Filter func() []byte
	// Started, if not nil, is called with QEMU's process id before the guest
	// boots, to put it where it belongs. Its error ends the boot.
	Started func(pid int) error
	// Trace, if not nil, is told of each phase of the start in the guest, with the
	// time as package trace has it.
	Trace func(at time.Duration, phase string)
	// Reason, if not "", is why the machine boots although there is a template.
	Reason string
	// Template, if not nil, is what the machine goes on from. If it cannot, it
	// boots; see Report. The files stay the caller's.
	Template *Template
}

// Machine is a running virtual machine, from the guest's first word until QEMU
// has ended.
type Machine struct {
	config  Config
	process *process
	serials map[string]string // of the disks, by their files' paths
	stateFD int               // in QEMU: the state of its devices, if there is a template
	session *yamux.Session
	task    *guestTask
	report  shimapi.MachineReport
	grown   growth

	consoleTail tail
	consoleEnd  chan struct{} // closed when nothing more comes

	closing  atomic.Bool // an end of QEMU is what was asked for
	finished chan struct{}
	endedAt  time.Time // set before finished is closed

	mu     sync.Mutex  // guards what follows
	qmp    *qmp.Client // nil until QEMU has greeted
	why    string      // QMP's reason for a shutdown, "" if none was told
	broken error       // why the host gave up the link
}

// Boot starts QEMU and waits until the guest can be asked, at most
// Machine.BootTimeout and as long as ctx lives. When it fails, nothing is left.
func Boot(ctx context.Context, c Config) (*Machine, error) {
	timeout := c.Machine.BootTimeout
	if timeout <= 0 {
		return nil, fmt.Errorf("starting the virtual machine of %s: no boot timeout is set: %w", c.ID, errdefs.ErrInvalidArgument)
	}
	expired := fmt.Errorf("the guest kernel did not answer within %s; its console is in %s", timeout, consolePath(c.Bundle))
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, expired)
	defer cancel()
	report := shimapi.MachineReport{Version: shimapi.Version, Reason: c.Reason}
	if c.Template != nil {
		m, err := restore(ctx, c)
		if err == nil {
			report.Restored = true
			m.report = report
			return m, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("starting the virtual machine of %s: %w", c.ID, err)
		}
		report.Reason = err.Error()
	}
	m, err := boot(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("starting the virtual machine of %s: %w", c.ID, err)
	}
	m.report = report
	return m, nil
}

func newMachine(c Config) *Machine {
	if c.Streams == nil {
		c.Streams = noStreams{}
	}
	return &Machine{config: c, finished: make(chan struct{}), consoleEnd: make(chan struct{})}
}

func boot(ctx context.Context, c Config) (*Machine, error) {
	m := newMachine(c)
	s, err := m.start(arrangement{})
	if err != nil {
		return nil, err
	}
	go m.watchQMP(s.qmp)
	if err = m.connect(ctx, s.link, link.Host); err != nil {
		m.abandon(s)
		return nil, err
	}
	go m.watch()
	return m, nil
}

// abandon ends a machine that nobody watches yet.
func (m *Machine) abandon(s sockets) {
	s.qmp.Close()
	s.link.Close()
	m.process.kill()
	<-m.process.done
	m.removePid()
}

// Report says how the machine came up.
func (m *Machine) Report() shimapi.MachineReport { return m.report }

// connect waits for the guest at the other end of the link.
func (m *Machine) connect(ctx context.Context, conn *os.File, greet func(io.ReadWriteCloser) (*yamux.Session, error)) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	session, err := greet(conn)
	if err == nil {
		m.session = session
		m.task, err = newGuestTask(m, session)
	}
	if !stop() || err != nil {
		return m.bootError(ctx, err)
	}
	return nil
}

// bootError finds the best explanation for a guest that did not come up.
func (m *Machine) bootError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), errdefs.ErrUnavailable)
	}
	select {
	case <-m.process.done:
	case <-time.After(closeTimeout): // QEMU lives: the guest is what is wrong
		return err
	}
	return fmt.Errorf("QEMU ended before the guest was up (%s); the guest's console is in %s: %w",
		m.process.reason(), consolePath(m.config.Bundle), errdefs.ErrUnavailable)
}

// watchQMP connects to QEMU's monitor, unless QEMU ends first, and remembers
// why QEMU shuts down.
func (m *Machine) watchQMP(conn *os.File) {
	client, err := qmp.New(context.Background(), conn)
	if err != nil {
		return // the same end of QEMU is reported by who waits for the link
	}
	m.watchEvents(client)
}

// watchEvents remembers why QEMU shuts down, until its monitor is gone.
func (m *Machine) watchEvents(client *qmp.Client) {
	m.mu.Lock()
	m.qmp = client
	m.mu.Unlock()
	for e := range client.Events() {
		if e.Name == "SHUTDOWN" {
			m.mu.Lock()
			m.why = shutdownReason(e.Data)
			m.mu.Unlock()
		}
	}
}

// watch ends the machine when either QEMU or the link has ended: one is of no
// use without the other.
func (m *Machine) watch() {
	select {
	case <-m.process.done:
	case <-m.session.CloseChan():
		select {
		case <-m.process.done:
		case <-time.After(closeTimeout):
			m.process.kill()
			<-m.process.done
		}
	}
	m.session.Close()
	m.removePid()
	m.endedAt = time.Now()
	select { // for Err
	case <-m.consoleEnd:
	case <-time.After(closeTimeout):
	}
	close(m.finished)
}

// giveUp ends the link because of something that the guest sent.
func (m *Machine) giveUp(err error) {
	m.hangUp(fmt.Errorf("its guest broke the protocol: %w", err))
}

// hangUp ends the link, and the machine with it, for a reason.
func (m *Machine) hangUp(err error) {
	m.mu.Lock()
	if m.broken == nil {
		m.broken = err
	}
	m.mu.Unlock()
	m.session.Close()
}

// Pid is QEMU's process id.
func (m *Machine) Pid() int { return m.process.pid }

// Done is closed when QEMU has ended and been reaped.
func (m *Machine) Done() <-chan struct{} { return m.finished }

// Err says why the machine ended unasked. It is nil as long as the machine
// runs, and when Close or the task service's Shutdown ended it.
func (m *Machine) Err() error {
	select {
	case <-m.finished:
	default:
		return nil
	}
	if m.closing.Load() {
		return nil
	}
	m.mu.Lock()
	why, broken := m.why, m.broken
	m.mu.Unlock()
	reason := "QEMU ended: " + m.process.reason()
	switch {
	case broken != nil:
		reason = broken.Error()
	case m.process.killed():
	case why != "":
		quote, panic := lastWords(m.consoleTail.text())
		if panic {
			why = "its guest's kernel panicked"
		}
		reason = why
		if quote != "" {
			reason += " (" + quote + ")"
		}
	}
	return fmt.Errorf("the virtual machine of %s ended unexpectedly: %s; its console is in %s: %w",
		m.config.ID, reason, consolePath(m.config.Bundle), errdefs.ErrUnavailable)
}

// Killed says whether a signal ended QEMU, and nobody here had sent it. It is
// certain once Done is closed.
func (m *Machine) Killed() bool {
	return m.ended() && m.process.killed() && !m.closing.Load() && !m.hungUp()
}

func (m *Machine) hungUp() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.broken != nil
}

// Close ends the machine: it asks QEMU to quit, kills it if that takes too
// long, and returns when it is gone. It may be called twice.
func (m *Machine) Close() error {
	if m.ended() {
		return nil
	}
	m.closing.Store(true)
	m.mu.Lock()
	client := m.qmp
	m.mu.Unlock()
	if client != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		err := client.Run(ctx, "quit", nil, nil)
		cancel()
		if err == nil || errors.Is(err, client.Err()) {
			select {
			case <-m.finished:
				return nil
			case <-time.After(closeTimeout):
			}
		}
	}
	m.Kill()
	return nil
}

// Kill ends the machine on the spot, and returns when it is gone: what its guest
// has not yet written to its disks is lost.
func (m *Machine) Kill() {
	m.closing.Store(true)
	m.process.kill()
	<-m.finished
}

func consolePath(bundle string) string { return filepath.Join(bundle, shimapi.ConsoleLog) }

// writePid keeps QEMU's process id in the bundle.
func writePid(bundle string, pid int) error {
	err := os.WriteFile(filepath.Join(bundle, PidFile), []byte(strconv.Itoa(pid)), 0o644)
	if err != nil {
		return fmt.Errorf("keeping QEMU's process id: %w", err)
	}
	return nil
}

// removePid removes the file of writePid. A file that stays names a process that
// has ended, as after a crash.
func (m *Machine) removePid() { _ = os.Remove(filepath.Join(m.config.Bundle, PidFile)) }
