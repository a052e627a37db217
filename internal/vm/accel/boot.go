package accel

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxOutput bounds what is kept of QEMU's messages, in bytes.
const maxOutput = 4 << 10

// boot runs the kernel under the accelerator and returns why it did not come to
// its first program, or "". An error is returned when that could not be found
// out.
func (p prober) boot(ctx context.Context, qemu, image, accel string) (reason string, err error) {
	initramfs, err := memoryFile(guestArchive())
	if err != nil {
		return "", err
	}
	defer initramfs.Close()

	// The child dies with the thread that started it, should we be killed.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	bounded, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	cmd := exec.CommandContext(bounded, qemu, arguments(image, accel)...)
	cmd.ExtraFiles = []*os.File{initramfs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	console := &watcher{words: []string{marker}, found: cancel}
	messages := &watcher{words: stopped, found: cancel}
	cmd.Stdout, cmd.Stderr = console, messages

	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("starting QEMU: %w", err)
	}
	ended := cmd.Wait()
	switch {
	case console.hit != "":
		return "", nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case messages.hit != "":
		return "a guest kernel did not start under it: QEMU said " + quote(messages.hit), nil
	case errors.Is(bounded.Err(), context.DeadlineExceeded):
		reason = fmt.Sprintf("a guest kernel did not start under it within %s", p.timeout)
	case ended != nil:
		reason = "QEMU failed under it (" + ended.Error() + ")"
	default:
		reason = "a guest kernel stopped under it"
	}
	if said := messages.last(); said != "" {
		reason += ": QEMU said " + quote(said)
	}
	return reason, nil
}

// stopped are the words with which QEMU reports that KVM gave up; it would
// then wait for ever.
var stopped = []string{"KVM internal error", "kvm run failed"}

// arguments is QEMU's command line: as little machine as the kernel boots on.
// The initramfs is file descriptor 3.
func arguments(image, accel string) []string {
	cpu := "host" // as machines have it
	if accel == TCG {
		cpu = "max"
	}
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35,accel=" + accel + ",usb=off,smbus=off,sata=off,vmport=off,hpet=off",
		"-cpu", cpu, "-m", "128",
		"-serial", "stdio",
		"-kernel", image, "-initrd", "/proc/self/fd/3",
		"-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on",
	}
}

// watcher looks for words in the lines that are written to it. It is used by
// one goroutine at a time.
type watcher struct {
	words []string
	found func() // called at the first hit
	hit   string // the line, once there was one
	kept  []byte // the last output
}

func (w *watcher) Write(b []byte) (int, error) {
	w.kept = append(w.kept, b...)
	if n := len(w.kept) - maxOutput; n > 0 {
		w.kept = append(w.kept[:0], w.kept[n:]...)
	}
	if w.hit == "" {
		w.look()
	}
	return len(b), nil
}

func (w *watcher) look() {
	lines := bufio.NewScanner(bytes.NewReader(w.kept))
	for lines.Scan() {
		for _, word := range w.words {
			if strings.Contains(lines.Text(), word) {
				w.hit = lines.Text()
				w.found()
				return
			}
		}
	}
}

// last returns the last line that says something.
func (w *watcher) last() string {
	lines := strings.Split(strings.TrimSpace(string(w.kept)), "\n")
	return lines[len(lines)-1]
}

// quote returns a line as it can stand in a sentence, cut at 200 bytes.
func quote(line string) string {
	line = strings.TrimSpace(line)
	if len(line) > 200 {
		line = line[:200] + "..."
	}
	return fmt.Sprintf("%q", line)
}

// memoryFile returns a file without a name that holds data.
func memoryFile(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("initramfs", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "initramfs")
	if _, err := io.Copy(f, bytes.NewReader(data)); err != nil {
		return nil, errors.Join(fmt.Errorf("making a file in memory: %w", err), f.Close())
	}
	return f, nil
}
