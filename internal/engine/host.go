package engine

import (
	"bufio"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// host is what the engine knows of the machine that it runs on; it doesn't
// change while it runs.
type host struct {
	name        string
	kernel      string // the release
	osName      string // "Debian GNU/Linux 12 (bookworm)"
	osVersion   string // "12"
	cpus        int
	memory      int64 // bytes
	cgroupV1    bool  // controllers are in v1 hierarchies
	noSwapLimit bool  // the kernel has no swap accounting
	erofs       bool  // the kernel can mount layers
}

func lookAtHost() host {
	h := host{cpus: runtime.NumCPU(), memory: hostMemory(), osName: "Linux"}
	h.name, _ = os.Hostname()
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.kernel = unix.ByteSliceToString(u.Release[:])
	}
	release := osRelease("/etc/os-release", "/usr/lib/os-release")
	if name := release["PRETTY_NAME"]; name != "" {
		h.osName = name
	}
	h.osVersion = release["VERSION_ID"]
	var fs unix.Statfs_t
	h.cgroupV1 = unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type != unix.CGROUP2_SUPER_MAGIC
	h.noSwapLimit = h.cgroupV1 && !exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	h.erofs = hasFilesystem("erofs")
	return h
}

// hostMemory is the machine's memory in bytes.
func hostMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// osRelease reads the first of the files that is there; see os-release(5).
func osRelease(files ...string) map[string]string {
	values := map[string]string{}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
				values[key] = strings.Trim(value, `"'`)
			}
		}
		return values
	}
	return values
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// hasFilesystem says whether the kernel has a file system, or a module of it.
func hasFilesystem(name string) bool {
	f, err := os.Open("/proc/filesystems")
	if err != nil {
		return true // not known: the mount will tell
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 && fields[len(fields)-1] == name {
			return true
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	modules, _ := filepath.Glob(filepath.Join("/lib/modules", unix.ByteSliceToString(u.Release[:]), "kernel/fs", name, name+".ko*"))
	return len(modules) > 0
}

// hostCPUTime is the time of all the machine's processors so far, busy and
// idle, in nanoseconds; 0 if it cannot be read.
func hostCPUTime() uint64 {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return parseCPUTime(string(data))
}

// parseCPUTime reads the first line of /proc/stat, in hundredths of a second:
// user, nice, system, idle, iowait, irq, softirq, steal. What follows, guests'
// time, is part of these already.
func parseCPUTime(text string) uint64 {
	const counted, tick = 8, 10_000_000
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) <= counted || fields[0] != "cpu" {
		return 0
	}
	var sum uint64
	for _, f := range fields[1 : counted+1] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0
		}
		sum += n * tick
	}
	return sum
}
