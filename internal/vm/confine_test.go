package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// landlock skips the test where the kernel has none.
func landlock(t *testing.T) {
	t.Helper()
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version); errno != 0 {
		t.Skip("this kernel has no Landlock")
	}
}

func TestConfine(t *testing.T) {
	t.Parallel()
	landlock(t)
	dir := t.TempDir()
	secret, kernel := filepath.Join(dir, "secret"), filepath.Join(dir, "kernel")
	for _, path := range []string{secret, kernel} {
		if err := os.WriteFile(path, []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with this goroutine
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Error(err)
			return
		}
		if err := confine("/usr/bin/true", kernel); err != nil {
			t.Error(err)
			return
		}
		for _, try := range []struct {
			path string
			flag int
			want error
		}{
			{kernel, unix.O_RDONLY, nil},
			{kernel, unix.O_WRONLY, unix.EACCES},
			{secret, unix.O_RDONLY, unix.EACCES},
			{filepath.Join(dir, "new"), unix.O_CREAT | unix.O_WRONLY, unix.EACCES},
			{"/etc/passwd", unix.O_RDONLY, unix.EACCES},
			{"/usr/bin/true", unix.O_RDONLY, nil},
			{"/dev/null", unix.O_RDWR, nil},
		} {
			fd, err := unix.Open(try.path, try.flag|unix.O_CLOEXEC, 0o600)
			if err == nil {
				unix.Close(fd)
			}
			if !errors.Is(err, try.want) {
				t.Errorf("opening %s (%#x): %v, want %v", try.path, try.flag, err, try.want)
			}
		}
	}()
	<-done
}

// A descriptor that this process has by accident is not QEMU's.
func TestStrayDescriptorsStayHere(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("starting a process as another user needs root")
	}
	var stray [2]int
	if err := unix.Pipe(stray[:]); err != nil { // not close-on-exec
		t.Fatal(err)
	}
	defer unix.Close(stray[0])
	defer unix.Close(stray[1])
	p, err := startProcess(program{path: "/usr/bin/sleep", args: []string{"1000"}, uid: 64001, gid: 64001})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { p.kill(); <-p.done }()
	for _, fd := range stray {
		here, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		there, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.pid, fd))
		if err == nil && here == there {
			t.Errorf("descriptor %d was inherited: %s", fd, there)
		}
	}
}
