package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// firstLine is what PID 1 of a guest prints first.
const firstLine = "bothy: guest is up"

// bareMachines gives contenders that boot the kernel and the initramfs of
// bothy's machines without disks, network or a link to anyone: one with machine,
// processor, firmware and kernel command line as bothy has them, and one as
// somebody would start QEMU who does not care. Both get the kernel as the
// distribution packs it.
func bareMachines(ctx context.Context, e *engine, rounds int) []*contender {
	bare, stock, err := bareCommands(ctx, e)
	return []*contender{
		{name: bareName, peer: true, rounds: rounds, argv: bare, until: firstLine, problem: err},
		{name: "QEMU alone, its own settings, likewise", peer: true, rounds: rounds, argv: stock, until: firstLine, problem: err},
	}
}

func bareCommands(ctx context.Context, e *engine) (bare, stock []string, err error) {
	if _, err := e.do(ctx, "run", "-d", "--name", "model", "--isolation", "vm", "busybox", "sleep", "1000"); err != nil {
		return nil, nil, err
	}
	defer e.removeAll(context.WithoutCancel(ctx))
	qemu, options, err := modelMachine(e.run)
	if err != nil {
		return nil, nil, err
	}
	if options["-kernel"], err = kernelImage(ctx, e); err != nil {
		return nil, nil, err
	}
	bare = []string{qemu}
	for _, option := range []string{"-machine", "-accel", "-cpu", "-bios", "-m", "-smp", "-kernel", "-initrd", "-append"} {
		if value, ok := options[option]; ok {
			bare = append(bare, option, value)
		}
	}
	bare = append(bare, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio")
	accel, _, _ := strings.Cut(options["-accel"], ",")
	stock = []string{
		qemu, "-machine", "q35", "-accel", accel, "-cpu", "max", "-m", options["-m"], "-smp", options["-smp"],
		"-kernel", options["-kernel"], "-initrd", options["-initrd"], "-append", "console=ttyS0 quiet panic=-1", "-nographic", "-no-reboot",
	}
	return bare, stock, nil
}

// modelMachine reads program and options of the only QEMU below execRoot.
func modelMachine(execRoot string) (qemu string, options map[string]string, err error) {
	pids, err := filepath.Glob(filepath.Join(execRoot, "c", "*", "qemu.pid"))
	if err != nil || len(pids) != 1 {
		return "", nil, fmt.Errorf("looking for the model's machine: %v %v", pids, err)
	}
	pid, err := os.ReadFile(pids[0])
	if err != nil {
		return "", nil, err
	}
	proc := filepath.Join("/proc", strings.TrimSpace(string(pid)))
	raw, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil {
		return "", nil, err
	}
	args := strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
	options = map[string]string{}
	for i, option := range args[:len(args)-1] {
		value := args[i+1]
		if fd, ok := strings.CutPrefix(value, "/proc/self/fd/"); ok { // an open file of the model's
			if value, err = os.Readlink(filepath.Join(proc, "fd", fd)); err != nil {
				return "", nil, err
			}
		}
		if _, twice := options[option]; !twice {
			options[option] = value
		}
	}
	return args[0], options, nil
}

// kernelImage asks bothy for the path of the kernel that its machines boot, as
// the distribution packs it.
func kernelImage(ctx context.Context, e *engine) (string, error) {
	out, err := e.do(ctx, "version", "--format", "json")
	if err != nil {
		return "", fmt.Errorf("asking for the guest kernel: %w", err)
	}
	var version struct {
		Server struct {
			Components []struct {
				Name    string
				Details map[string]string
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &version); err != nil {
		return "", fmt.Errorf("asking for the guest kernel: %w", err)
	}
	for _, c := range version.Server.Components {
		if image := c.Details["Image"]; image != "" {
			return image, nil
		}
	}
	return "", errors.New("bothy does not say which guest kernel it has")
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
