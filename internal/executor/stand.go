package executor

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// stand is a thread of this process that stands in the mount and UTS namespaces
// of another, which shares them with nobody yet that could do it harm.
type stand struct{ calls chan func() }

// standIn sends a thread into the namespaces of a process.
func standIn(pid int) (*stand, error) {
	s := &stand{calls: make(chan func())}
	entered := make(chan error, 1)
	onOtherThread(func() { s.serve(pid, entered) })
	if err := <-entered; err != nil {
		return nil, fmt.Errorf("entering a container's namespaces: %w", err)
	}
	return s, nil
}

func (s *stand) serve(pid int, entered chan<- error) {
	if err := enterNamespaces(pid); err != nil {
		entered <- err
		return
	}
	entered <- nil
	for call := range s.calls {
		call()
	}
}

func enterNamespaces(pid int) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare CLONE_FS", err)
	}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, name := range []string{"uts", "mnt"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	for _, f := range files {
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return os.NewSyscallError("setns "+f.Name(), err)
		}
	}
	return nil
}

// do runs f there and returns its error.
func (s *stand) do(f func() error) error {
	done := make(chan error, 1)
	s.calls <- func() { done <- f() }
	return <-done
}

// leave ends the thread. Nothing may be done there afterwards.
func (s *stand) leave() { close(s.calls) }

// onOtherThread runs f on a thread that ends with it and is never the process's
// first one, which is what /proc/self speaks of. It returns at once.
func onOtherThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f() // still locked when the goroutine returns, so the thread ends
			return
		}
		begun := make(chan struct{})
		onOtherThread(func() {
			close(begun)
			f()
		})
		<-begun // holding the first thread, so that f gets another
		runtime.UnlockOSThread()
	}()
}
