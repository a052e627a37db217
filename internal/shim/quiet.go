package shim

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
)

// A shim sleeps for most of its life, beside many others: what it needed to
// start its container is given back when no call has come for a while.
const (
	quietAfter = time.Second
	// maxProcs bounds the threads that run at once: a shim mostly copies.
	maxProcs = 2
	// gcPercent keeps the heap small while output flows.
	gcPercent = 50
	// startGCPercent spares a container's start a collection or two: what they
	// would free is given back when the shim becomes quiet.
	startGCPercent = 400
)

// quiet frees memory when calls have ended.
type quiet struct {
	timer *time.Timer
	calls atomic.Int64 // under way, Wait and clients that are attached excepted
}

func newQuiet() *quiet {
	runtime.GOMAXPROCS(min(maxProcs, runtime.GOMAXPROCS(0)))
	debug.SetGCPercent(startGCPercent)
	q := &quiet{}
	q.timer = time.AfterFunc(quietAfter, q.free)
	return q
}

// intercept takes note of a call.
func (q *quiet) intercept(ctx context.Context, unmarshal ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
	if info.FullMethod == "/containerd.task.v3.Task/Wait" {
		return method(ctx, unmarshal)
	}
	defer q.begin()()
	return method(ctx, unmarshal)
}

// begin notes that something is under way, until the result is called.
func (q *quiet) begin() (end func()) {
	if q == nil {
		return func() {}
	}
	q.calls.Add(1)
	return func() {
		q.calls.Add(-1)
		q.timer.Reset(quietAfter)
	}
}

func (q *quiet) free() {
	if q.calls.Load() > 0 {
		return // its end sets the timer
	}
	debug.SetGCPercent(gcPercent)
	debug.FreeOSMemory()
	dropProgram()
}

// dropProgram gives back the pages of the program's own text and constants.
// Those that are used again come back from the page cache. It is done for
// mappings without a page of their own only, so nothing can be lost.
func dropProgram() {
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer file.Close()
	var start, end uintptr // of the mapping that the lines are about; 0: not the program's
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 0, 1024), 64<<10)
	for lines.Scan() {
		fields := bytes.Fields(lines.Bytes())
		switch {
		case len(fields) >= 5 && bytes.IndexByte(fields[0], '-') > 0:
			start, end = programMapping(fields)
		case len(fields) == 3 && string(fields[0]) == "Anonymous:" && string(fields[1]) == "0" && start != 0:
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED)
		}
	}
}

// programMapping gives the addresses of a mapping of a file that nobody can
// write to, and zeros for any other. Fields are those of its first line.
func programMapping(fields [][]byte) (start, end uintptr) {
	perms := string(fields[1])
	if len(fields) < 6 || fields[5][0] != '/' || perms != "r-xp" && perms != "r--p" {
		return 0, 0
	}
	from, to, _ := bytes.Cut(fields[0], []byte("-"))
	first, err := strconv.ParseUint(string(from), 16, 64)
	if err != nil {
		return 0, 0
	}
	last, err := strconv.ParseUint(string(to), 16, 64)
	if err != nil {
		return 0, 0
	}
	return uintptr(first), uintptr(last)
}
