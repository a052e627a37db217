package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bothy/internal/vm/link"
)

// portsDir is where the kernel names the virtio-serial ports.
const portsDir = "/sys/class/virtio-ports"

// openPort waits for the port of the link and opens it.
func openPort(u *uevents) (io.ReadWriteCloser, error) {
	var device string
	err := u.until("the port to the host", func() (bool, error) {
		names, err := filepath.Glob(portsDir + "/*/name")
		for _, path := range names {
			name, err := os.ReadFile(path)
			if err == nil && strings.TrimSpace(string(name)) == link.PortName {
				device = "/dev/" + filepath.Base(filepath.Dir(path))
			}
		}
		return device != "", err
	})
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the port to the host: %w", err)
	}
	return &port{File: f}, nil
}

// port is a virtio-serial port. As long as the kernel has not heard that the
// host's side is open, reading it ends at once: until the first byte that is
// no end.
type port struct {
	*os.File
	connected bool
}

func (p *port) Read(b []byte) (int, error) {
	for start := time.Now(); ; {
		n, err := p.File.Read(b)
		if n > 0 {
			p.connected = true
		}
		if p.connected || !errors.Is(err, io.EOF) || time.Since(start) > deviceTimeout {
			return n, err
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: int64(time.Millisecond)}, nil)
	}
}
