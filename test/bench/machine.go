package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const bareName = "bare QEMU to PID 1's first line"

// firstLine is what PID 1 of a guest prints first.
const firstLine = "bothy: guest is up"

// bareMachine takes machine, firmware, kernel, initramfs, memory and kernel
// command line from a running VM of bothy's and gives a contender that boots
// just these, without disks, network or a link to anyone.
func bareMachine(env []string, cli, execRoot string, rounds int) (*contender, error) {
	if err := do(env, cli, "run", "-d", "--name", "model", "--isolation", "vm", "busybox", "sleep", "1000"); err != nil {
		return nil, err
	}
	defer func() { _ = do(env, cli, "rm", "-f", "model") }()
	pids, err := filepath.Glob(filepath.Join(execRoot, "c", "*", "qemu.pid"))
	if err != nil || len(pids) != 1 {
		return nil, fmt.Errorf("looking for the model's machine: %v %v", pids, err)
	}
	pid, err := os.ReadFile(pids[0])
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/cmdline")
	if err != nil {
		return nil, err
	}
	args := strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
	command := []string{args[0]}
	for _, option := range []string{"-machine", "-accel", "-cpu", "-bios", "-m", "-smp", "-kernel", "-initrd", "-append"} {
		i := slices.Index(args, option)
		if i < 0 {
			continue
		}
		value := args[i+1]
		if fd, ok := strings.CutPrefix(value, "/proc/self/fd/"); ok { // an open file of the model's
			if value, err = os.Readlink("/proc/" + strings.TrimSpace(string(pid)) + "/fd/" + fd); err != nil {
				return nil, err
			}
		}
		command = append(command, option, value)
	}
	command = append(command, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio")
	return &contender{name: bareName, kind: machines, rounds: rounds, command: command, until: firstLine}, nil
}

// runUntil starts cmd and ends it when its output holds until.
func runUntil(cmd *exec.Cmd, until string) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), until) {
			return nil
		}
	}
	return fmt.Errorf("it ended without saying %q", until)
}
