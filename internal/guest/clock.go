package guest

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setClock takes the host's time.
func setClock(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	tv := unix.NsecToTimeval(t.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		return fmt.Errorf("setting the clock: %w", err)
	}
	return nil
}

// Requests of the random device, see random(4).
const (
	rndAddEntropy = 0x40085203
	rndReseedCRNG = 0x5207
)

// maxEntropy bounds the random bytes that one call takes.
const maxEntropy = 512

// addEntropy feeds the kernel's random generator with bytes that count in full.
func addEntropy(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("feeding the random generator: %w", err)
	}
	defer f.Close()
	var info struct {
		bits, size int32
		data       [maxEntropy]byte
	}
	n := copy(info.data[:], b)
	info.bits, info.size = int32(8*n), int32(n)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), rndAddEntropy, uintptr(unsafe.Pointer(&info)))
	if errno == 0 {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, f.Fd(), rndReseedCRNG, 0)
	}
	if errno != 0 {
		return fmt.Errorf("feeding the random generator: %w", errno)
	}
	return nil
}
