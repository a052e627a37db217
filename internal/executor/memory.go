package executor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// TrimMemory gives back the memory that starting a container took and waiting
// for its end does not need: free heap, and the program's own pages, which the
// kernel has in its cache and maps again when they run. It is worth a
// millisecond after a container's start in a program that then mostly sleeps.
func TrimMemory() error {
	debug.FreeOSMemory()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return wrap(err, "trimming memory")
	}
	defer f.Close()
	clean, err := cleanFileMappings(f)
	if err != nil {
		return wrap(err, "trimming memory")
	}
	var errs []error
	for _, m := range clean {
		// By the raw call: the range isn't Go's, there is no slice for it.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, os.NewSyscallError("madvise", errno))
		}
	}
	return wrap(errors.Join(errs...), "trimming memory")
}

type mapping struct{ start, end uintptr }

// cleanFileMappings reads /proc/<pid>/smaps and gives the mappings of files that
// can be dropped and come back as they were: not writable, and without pages
// that were written before they became so.
func cleanFileMappings(smaps io.Reader) ([]mapping, error) {
	var clean []mapping
	var m mapping
	candidate := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"): // a mapping's head
			if _, err := fmt.Sscanf(fields[0], "%x-%x", &m.start, &m.end); err != nil {
				return nil, fmt.Errorf("reading the mapping %q: %w", lines.Text(), err)
			}
			candidate = len(fields) >= 6 && strings.HasPrefix(fields[5], "/") && strings.HasPrefix(fields[1], "r-") && strings.HasSuffix(fields[1], "p")
		case candidate && len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0":
			clean = append(clean, m)
			candidate = false
		}
	}
	return clean, lines.Err()
}
