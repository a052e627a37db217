package executor

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// initName is what libcontainer calls a process that has not yet become the
	// container's program (nsexec.c).
	initName = "runc:[2:INIT]"
	// becomingTimeout bounds the wait for that. A program may give itself that
	// name, and then has its signals late.
	becomingTimeout = 5 * time.Second
)

// awaitProgram waits until a started process has become its program: a signal
// before that would be the executor's own code's, which ends by SIGTERM with a
// status of its own and never hands a signal on. SIGKILL means the same to both.
func awaitProgram(pid int, sig unix.Signal) {
	if sig == unix.SIGKILL {
		return
	}
	for deadline := time.Now().Add(becomingTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		if err != nil || strings.TrimSpace(string(name)) != initName {
			return // it has, or it has ended
		}
	}
}
