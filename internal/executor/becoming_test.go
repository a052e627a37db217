package executor

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that carries the name of libcontainer's first stage is waited for
// until it has another.
func TestAwaitProgram(t *testing.T) {
	t.Parallel()
	// The shell takes the name, and gives it up when it is told to.
	cmd := exec.Command("sh", "-c", `printf '%s' '`+initName+`' >/proc/$$/comm; echo named; read go; exec sleep 1000`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	awaitProgram(cmd.Process.Pid, unix.SIGKILL) // does not wait at all
	waited := make(chan struct{})
	go func() {
		awaitProgram(cmd.Process.Pid, unix.SIGTERM)
		close(waited)
	}()
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	<-waited
	comm, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/comm")
	if err != nil || string(comm) != "sleep\n" {
		t.Errorf("when the wait ended the process was %q (%v)", comm, err)
	}
}
