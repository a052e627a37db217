package e2e

import (
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen collects what a terminal shows.
type screen struct {
	mu      sync.Mutex
	shown   strings.Builder
	changed chan struct{} // closed and replaced at each change
}

func newScreen(r io.Reader) *screen {
	s := &screen{changed: make(chan struct{})}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			s.mu.Lock()
			s.shown.Write(buf[:n])
			close(s.changed)
			s.changed = make(chan struct{})
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// await waits until the terminal has shown want.
func (s *screen) await(t *testing.T, want string) {
	t.Helper()
	limit := time.After(patience)
	for {
		s.mu.Lock()
		found, changed := strings.Contains(s.shown.String(), want), s.changed
		s.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("the terminal never showed %q; it shows:\n%s", want, s.text())
		}
	}
}

func asExit(err error, exit **exec.ExitError) bool { return errors.As(err, exit) }
