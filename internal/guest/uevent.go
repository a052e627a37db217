package guest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// deviceTimeout bounds the wait for a device that the host has promised.
const deviceTimeout = 20 * time.Second

// uevents says when the kernel has announced a change of its devices.
type uevents struct {
	fd int

	mu sync.Mutex // held while waiting: one waiter would take another's events
}

// listenUevents listens from now on, so that nothing is missed between a look
// and a wait.
func listenUevents() (*uevents, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("listening for devices: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listening for devices: %w", err)
	}
	return &uevents{fd: fd}, nil
}

func (u *uevents) close() { unix.Close(u.fd) }

// until calls look until it finds what it looks for, after each change again.
// what names the thing for the error.
func (u *uevents) until(what string, look func() (bool, error)) error {
	if found, err := look(); found || err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	end := time.Now().Add(deviceTimeout)
	for {
		if found, err := look(); found || err != nil {
			return err
		}
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("%s did not appear within %s", what, deviceTimeout)
		}
		if err := u.wait(left); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
	}
}

// wait returns after an event, or when the time is over.
func (u *uevents) wait(limit time.Duration) error {
	timeout := unix.NsecToTimeval(limit.Nanoseconds())
	if err := unix.SetsockoptTimeval(u.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return err
	}
	var event [8192]byte
	_, err := unix.Read(u.fd, event[:])
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS):
		return nil // look again
	}
	return err
}
