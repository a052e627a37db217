package executor

import (
	"os"
	"os/signal"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reaper collects the exit of processes that became this one's children when
// their parents died: what PID 1 owes its orphans. It leaves alone the children
// that others wait for themselves. A shim on the host is no such process and
// has no Reaper.
//
// It takes a child only if it knows that nobody waits for it. Children that are
// being started are not known yet, so starting and reaping exclude each other.
type Reaper struct {
	starting sync.RWMutex // held for reading while a child is started, for writing while reaping

	mu     sync.Mutex
	waited map[int]int // how many wait for a pid: two for a moment, if it is used again at once

	wake chan os.Signal
}

// NewReaper starts reaping. A process has at most one Reaper, for its life.
func NewReaper() *Reaper {
	r := &Reaper{waited: map[int]int{}, wake: make(chan os.Signal, 1)}
	signal.Notify(r.wake, unix.SIGCHLD)
	go func() {
		for range r.wake {
			r.reap()
		}
	}()
	return r
}

// Start runs start, which starts a child and returns its pid; other children
// that it starts it must have waited for when it returns. Release must be
// called with the pid once the child's exit was waited for. Start with a nil
// Reaper just runs start.
func (r *Reaper) Start(start func() (int, error)) error {
	if r == nil {
		_, err := start()
		return err
	}
	r.starting.RLock()
	defer r.poke() // reaping was put off meanwhile
	defer r.starting.RUnlock()
	pid, err := start()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waited[pid]++
	return nil
}

// Release says that the child's exit was taken by the one who waited for it.
func (r *Reaper) Release(pid int) {
	if r == nil {
		return
	}
	r.mu.Lock()
	if r.waited[pid]--; r.waited[pid] <= 0 {
		delete(r.waited, pid)
	}
	r.mu.Unlock()
	// The child may have stood in front of orphans, or one of them may have
	// got its pid by now.
	r.poke()
}

// poke has the orphans looked for, now or after the round that is under way.
func (r *Reaper) poke() {
	select {
	case r.wake <- unix.SIGCHLD:
	default:
	}
}

// reap takes every ended child up to one that somebody waits for: that one is
// taken soon, and Release comes back here. It never holds up a start: while
// there is one, it leaves the orphans to the poke at its end.
func (r *Reaper) reap() {
	if !r.starting.TryLock() {
		return
	}
	defer r.starting.Unlock()
	for {
		pid := endedChild()
		if pid == 0 || r.isWaited(pid) {
			return
		}
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
}

func (r *Reaper) isWaited(pid int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waited[pid] > 0
}

// endedChild is the pid of a child that has ended and was not waited for, and
// stays so; 0 if there is none.
func endedChild() int {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		switch err {
		case nil:
			return siginfoPid(&info)
		case unix.EINTR:
		default: // ECHILD: there are no children
			return 0
		}
	}
}

// siginfoPid reads si_pid, which lies behind three ints and, on 64 bits, a gap
// that aligns the union it is in.
func siginfoPid(info *unix.Siginfo) int {
	const offset = 3*4 + (unsafe.Sizeof(uintptr(0)) - 4)
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}
