package logfile

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// pollEvery is how often a log is looked at where the kernel has no inotify
// instance left to give.
const pollEvery = 200 * time.Millisecond

// watch tells when something in the log's directory has changed.
type watch struct {
	changed chan struct{} // holds one
	stop    chan struct{}
	notify  *os.File // nil when polling
}

func newWatch(path string) *watch {
	w := &watch{changed: make(chan struct{}, 1), stop: make(chan struct{})}
	file, err := inotify(filepath.Dir(path))
	if err != nil {
		go w.poll()
		return w
	}
	w.notify = file
	go w.read()
	return w
}

func inotify(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// read signals for every batch of events, until close.
func (w *watch) read() {
	buf := make([]byte, 4096)
	for {
		if _, err := w.notify.Read(buf); err != nil {
			return
		}
		w.signal()
	}
}

func (w *watch) poll() {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.signal()
		case <-w.stop:
			return
		}
	}
}

func (w *watch) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *watch) close() {
	close(w.stop)
	if w.notify != nil {
		_ = w.notify.Close()
	}
}
