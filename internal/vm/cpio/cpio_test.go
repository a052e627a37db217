package cpio

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// TestFormat compares with the format's description, byte by byte.
func TestFormat(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := NewWriter(&b)
	w.Dir("dev", 0o755)
	w.Device("dev/console", 0o600, 5, 1)
	w.File("init", 0o755, []byte("hello"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	header := func(ino, mode, links, size, major, minor, name string) string {
		zero := "00000000"
		return "070701" + ino + mode + zero + zero + links + zero + size + zero + zero + major + minor + name + zero
	}
	want := header("00000001", "000041ED", "00000002", "00000000", "00000000", "00000000", "00000004") + "dev\x00\x00\x00" +
		header("00000002", "00002180", "00000001", "00000000", "00000005", "00000001", "0000000C") + "dev/console\x00\x00\x00" +
		header("00000003", "000081ED", "00000001", "00000005", "00000000", "00000000", "00000005") + "init\x00\x00" + "hello\x00\x00\x00" +
		header("00000000", "00000000", "00000001", "00000000", "00000000", "00000000", "0000000B") + "TRAILER!!!\x00\x00\x00\x00"
	if got := b.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestCpioReadsIt lets cpio(1) list an archive, where it is installed.
func TestCpioReadsIt(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip(err)
	}
	var b bytes.Buffer
	w := NewWriter(&b)
	w.Dir("a", 0o755)
	w.File("a/b", 0o644, make([]byte, 1001))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-t", "--quiet")
	cmd.Stdin = &b
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != "a\na/b" {
		t.Errorf("listed %q, %v", out, err)
	}
}
