package daemon

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPidfileOfADeadBothydIsReplaced(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "bothyd") // a process of that name
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("there is no sleep")
	}
	data, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, data, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	pid := strconv.Itoa(cmd.Process.Pid)
	path := filepath.Join(t.TempDir(), "pid")
	if err := os.WriteFile(path, []byte(pid), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := writePidfile(path); err == nil {
		t.Error("the pid file of one that runs was replaced")
	}
	_ = cmd.Process.Kill() // it is a zombie until Wait
	for end := time.Now().Add(10 * time.Second); isBothyd(pid) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	remove, err := writePidfile(path)
	if err != nil {
		t.Fatal(err)
	}
	remove()
}

func TestOneBothydHasABridge(t *testing.T) {
	t.Parallel()
	name := "test" + strconv.Itoa(os.Getpid())
	first, err := lockBridge(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockBridge(name); err == nil || !strings.Contains(err.Error(), "another bothyd (pid "+strconv.Itoa(os.Getpid())+")") {
		if os.Getuid() == 0 {
			t.Errorf("a second lock: %v", err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockBridge(name)
	for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); { // a child that another test starts has it until it execs
		time.Sleep(time.Millisecond)
		again, err = lockBridge(name)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}
