package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bothy/internal/shimapi"
	"bothy/internal/vm"
	"bothy/internal/vm/cache"
	"bothy/internal/vm/template"
)

// hostShape is what all templates of this host have in common, and what was
// looked at to find it.
type hostShape struct {
	looked string // identity of the files that were looked at
	host   template.Host
	clock  int // see template.Info
}

// versionTimeout bounds QEMU's answer to who it is.
const versionTimeout = 10 * time.Second

// lookAtShape finds what templates of machines with these parts have in common.
// What is known already is not looked for again as long as the files stay the
// same.
func lookAtShape(ctx context.Context, p machineParts, known hostShape) (hostShape, error) {
	var looked strings.Builder
	for _, path := range []string{p.kernel.Image, p.accel.QEMU} {
		if err := cache.Identify(&looked, path); err != nil {
			return hostShape{}, err
		}
	}
	// Each use of these changes their times, none their contents.
	for _, path := range []string{p.image, p.initramfs} {
		if err := identifyCached(&looked, path); err != nil {
			return hostShape{}, err
		}
	}
	layout, err := vm.Fingerprint(shimapi.Machine{Accel: p.accel.Accel, MaxMemory: p.maxMemory})
	if err != nil {
		return hostShape{}, err
	}
	looked.WriteString(layout)
	if known.looked == looked.String() {
		return known, nil
	}
	s := hostShape{looked: looked.String(), clock: vm.ClockRate()}
	s.host.Layout = digestOf(layout)
	if s.host.Kernel, err = fileDigest(p.image); err != nil {
		return s, err
	}
	if s.host.Initramfs, err = fileDigest(p.initramfs); err != nil {
		return s, err
	}
	if s.host.Emulator, err = emulatorOf(ctx, p.accel.QEMU); err != nil {
		return s, err
	}
	s.host.Processor, err = processor("/proc/cpuinfo")
	return s, err
}

// identifyCached writes the identity of a file that is only ever replaced.
func identifyCached(w io.Writer, path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	_, err := fmt.Fprintf(w, "%q %d %d %d\n", path, st.Dev, st.Ino, st.Size)
	return err
}

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// emulatorOf describes the QEMU at path.
func emulatorOf(ctx context.Context, path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w", path, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return fmt.Sprintf("%s, %d bytes of %s: %.100s", path, st.Size(), st.ModTime().UTC().Format(time.RFC3339Nano), line), nil
}

// processor is the digest of what the kernel says of the first processor, but
// for what changes from moment to moment.
func processor(cpuinfo string) (string, error) {
	data, err := os.ReadFile(cpuinfo)
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(string(data), "\n\n")
	var kept strings.Builder
	for line := range strings.Lines(first) {
		switch key, _, _ := strings.Cut(line, ":"); strings.TrimSpace(key) {
		case "vendor_id", "cpu family", "model", "model name", "stepping", "flags", "Features":
			kept.WriteString(line)
		}
	}
	return digestOf(kept.String()), nil
}

// sameClock says whether two rates of a time stamp counter are one, as far as
// can be measured. One that is not known may be any.
func sameClock(a, b int) bool {
	if a == 0 || b == 0 {
		return true
	}
	d := float64(a-b) / float64(a)
	return d > -0.005 && d < 0.005
}
