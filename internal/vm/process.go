package vm

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stderrLimit bounds what is kept of QEMU's messages, in bytes.
const stderrLimit = 4096

// process is a running QEMU.
type process struct {
	pid    int
	stderr *head
	done   chan struct{}
	kill   func()

	// state is set before done is closed; nil where somebody else reaped QEMU.
	state *os.ProcessState
}

// program is a QEMU to start.
type program struct {
	path     string
	args     []string
	uid, gid uint32
	groups   []uint32
	files    []*os.File // its descriptors from 3 on
	boot     []string   // files that it opens again by their descriptors
	memory   *os.File   // a template's memory, which is the machine's own until it writes; nil: none
}

// startProcess starts QEMU as user and group of its own, in empty network, IPC
// and host name namespaces, unable to gain privileges, and with no other files
// than those it needs.
//
// The kernel sends the death signal when the starting thread ends, so that
// thread is kept until QEMU has ended.
func startProcess(q program) (*process, error) {
	p := &process{stderr: &head{limit: stderrLimit}, done: make(chan struct{})}
	cmd := exec.Command(q.path, q.args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Dir = "/"
	cmd.ExtraFiles = q.files
	cmd.Stderr = p.stderr
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: q.uid, Gid: q.gid, Groups: q.groups},
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		holes, err := q.prepareThread()
		defer holes.close()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err != nil {
			return
		}
		if holes != nil {
			go holes.answer()
		}
		_ = cmd.Wait() // its meaning is in cmd.ProcessState
		p.state = cmd.ProcessState
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", q.path, err)
	}
	p.pid = cmd.Process.Pid
	p.kill = func() { _ = cmd.Process.Kill() } // fails only if QEMU has ended
	return p, nil
}

// prepareThread takes from the calling thread what QEMU is not to have, and from
// all of this process's children descriptors that nobody has meant for them. It
// returns what QEMU will ask before it punches holes, nil if that is nobody's
// business or the kernel cannot do it: see CanGiveBack.
func (q program) prepareThread() (*holes, error) {
	if err := unix.CloseRange(firstFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("closing descriptors: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	if err := confine(q.path, q.boot...); err != nil {
		return nil, err
	}
	if q.memory == nil {
		return nil, nil
	}
	h, err := listenForHoles(q.memory)
	if err != nil {
		return nil, nil // it keeps its memory
	}
	return h, nil
}

// killed says whether a signal ended QEMU. Only valid after done.
func (p *process) killed() bool {
	if p.state == nil {
		return false
	}
	status, ok := p.state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

// reason describes in a few words how QEMU ended. Only valid after done.
func (p *process) reason() string {
	var words []string
	if p.state != nil {
		words = append(words, p.state.String())
	}
	if line := p.stderr.firstLine(); line != "" {
		words = append(words, line)
	}
	if len(words) == 0 {
		return "for an unknown reason"
	}
	return strings.Join(words, ": ")
}

// head keeps the first bytes that are written to it.
type head struct {
	limit int

	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if room := h.limit - h.buf.Len(); room > 0 {
		h.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// firstLine is the first line that is not empty.
func (h *head) firstLine() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for line := range strings.Lines(h.buf.String()) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}

// socketPair returns two connected stream sockets. The first is in Go's poller.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket for QEMU: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "qemu"), os.NewFile(uintptr(fds[1]), "qemu"), nil
}

// kvmGroups are the supplementary groups that QEMU needs to open /dev/kvm.
func kvmGroups(accel string) []uint32 {
	if accel != "kvm" {
		return nil
	}
	var st unix.Stat_t
	if unix.Stat("/dev/kvm", &st) != nil || st.Gid == 0 {
		return nil
	}
	return []uint32{st.Gid}
}
