package shimclient

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// stirCgroups has the kernel get ready to move a process into a cgroup, which
// takes it 10 ms if it did nothing like it for a while: all processors have to
// take notice. Done while the shim comes up, it holds up nobody.
//
// It moves this process to where it is already. Where that fails, a start takes
// longer, and nothing else.
func stirCgroups() {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return
	}
	pid := []byte(strconv.Itoa(os.Getpid()))
	for _, path := range procsFiles("/sys/fs/cgroup", own) {
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			continue
		}
		_, err = file.Write(pid)
		_ = file.Close()
		if err == nil {
			return
		}
	}
}

// Stir does the same for a process that is about to be started in a container
// of a shim that runs. It does not wait.
func Stir() { go stirCgroups() }

// procsFiles are the files to which a process of the cgroups that
// /proc/self/cgroup lists may have its pid written, in either version.
func procsFiles(root string, own []byte) []string {
	var files []string
	for line := range bytes.Lines(own) {
		fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(fields) != 3 || !strings.HasPrefix(fields[2], "/") || strings.Contains(fields[2], "/..") {
			continue // not below this cgroup namespace
		}
		hierarchies := []string{strings.TrimPrefix(fields[1], "name=")}
		if fields[1] == "" {
			hierarchies = []string{"", "unified"}
		}
		for _, h := range hierarchies {
			files = append(files, filepath.Join(root, h, fields[2], "cgroup.procs"))
		}
	}
	return files
}
