package vm

import (
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// consoleLimit bounds what is kept of a guest's console, in bytes: a guest must
// not fill the host's disk.
const consoleLimit = 1 << 20

// consoleEnd stands where the rest was dropped.
const consoleEnd = "\n[bothy: the console's limit is reached, the rest is dropped]\n"

// keepConsole copies the console to w up to its limit, and reads and drops the
// rest, so that the guest never waits for it. All of it goes past end. It
// returns when the console ends.
func keepConsole(w io.WriteCloser, console *os.File, end *tail) {
	defer console.Close()
	all := io.TeeReader(console, end)
	n, err := io.Copy(w, io.LimitReader(all, consoleLimit))
	if err == nil && n == consoleLimit {
		_, _ = io.WriteString(w, consoleEnd) // nobody to tell
	}
	w.Close()
	_, _ = io.Copy(io.Discard, all)
}

// tailLimit is how much of a console's end is remembered, in bytes.
const tailLimit = 8 << 10

// tail keeps the last bytes that are written to it.
type tail struct {
	mu  sync.Mutex // guards buf
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p[max(len(p)-tailLimit, 0):]...)
	if over := len(t.buf) - tailLimit; over > 0 {
		t.buf = slices.Delete(t.buf, 0, over)
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// Bounds of what is quoted of a console.
const (
	quotedLines = 6
	quotedLine  = 160 // bytes
)

// panicked is how a kernel's last words begin.
const panicked = "Kernel panic"

// lastWords quotes the end of a console in one line: that of a panic from a line
// before it on, else the last lines. It is the guest's text: what is no printable
// ASCII is replaced. panic says whether the kernel has panicked.
func lastWords(console string) (quote string, panic bool) {
	var lines []string
	at := -1
	for line := range strings.Lines(console) {
		line = withoutStamp(strings.TrimSpace(line))
		if line == "" {
			continue
		}
		if at < 0 && strings.HasPrefix(line, panicked) {
			at = len(lines)
		}
		lines = append(lines, printable(line[:min(len(line), quotedLine)]))
	}
	begin := max(len(lines)-quotedLines/2, 0)
	if at >= 0 {
		begin = max(at-1, 0)
	}
	lines = lines[begin:]
	return strings.Join(lines[:min(len(lines), quotedLines)], " / "), at >= 0
}

// withoutStamp takes away the time since its start that the kernel puts before a
// line: "[    6.781768] ".
func withoutStamp(line string) string {
	stamp, rest, ok := strings.Cut(line, "] ")
	if !ok || !strings.HasPrefix(stamp, "[") || strings.Trim(stamp, "[ .0123456789") != "" {
		return line
	}
	return strings.TrimSpace(rest)
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
