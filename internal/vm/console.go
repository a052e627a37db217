package vm

import (
	"io"
	"os"
)

// consoleLimit bounds what is kept of a guest's console, in bytes: a guest must
// not fill the host's disk.
const consoleLimit = 1 << 20

// consoleEnd stands where the rest was dropped.
const consoleEnd = "\n[bothy: the console's limit is reached, the rest is dropped]\n"

// keepConsole copies the console to w up to its limit, and reads and drops the
// rest, so that the guest never waits for it. It returns when the console ends.
func keepConsole(w io.WriteCloser, console *os.File) {
	defer console.Close()
	n, err := io.Copy(w, io.LimitReader(console, consoleLimit))
	if err == nil && n == consoleLimit {
		_, _ = io.WriteString(w, consoleEnd) // nobody to tell
	}
	w.Close()
	_, _ = io.Copy(io.Discard, console)
}
