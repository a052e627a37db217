// Package netns makes network namespaces without disturbing the process that
// makes them. It knows nothing of what goes into one.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// New makes a network namespace, runs setup inside it, and returns it as an
// open file, which keeps it alive. Nothing but setup, on its own thread, ever
// runs in there: the thread ends with it. Setup may be nil.
func New(setup func() error) (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result, 1)
	onThrowAwayThread(func() {
		file, err := enter(setup)
		done <- result{file, err}
	})
	r := <-done
	return r.file, r.err
}

func enter(setup func() error) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("making a network namespace: %w", err)
	}
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("opening a new network namespace: %w", err)
	}
	if setup != nil {
		if err := setup(); err != nil {
			file.Close()
			return nil, err
		}
	}
	return file, nil
}

// Run runs f inside an open network namespace, on a thread of its own that ends
// with it.
func Run(inside *os.File, f func() error) error {
	done := make(chan error, 1)
	onThrowAwayThread(func() {
		if err := unix.Setns(int(inside.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering a network namespace: %w", err)
			return
		}
		done <- f()
	})
	return <-done
}

// onThrowAwayThread runs f on a thread that ends with it and is never the
// process's first one: the runtime cannot end that, and /proc/self speaks of
// it, so the whole process would seem to have moved.
func onThrowAwayThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f() // still locked when the goroutine returns, so the thread ends
			return
		}
		finished := make(chan struct{})
		onThrowAwayThread(func() {
			defer close(finished)
			f()
		})
		<-finished // holding the first thread, so that f gets another
		runtime.UnlockOSThread()
	}()
}
