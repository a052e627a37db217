package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRunScript is `make run`'s own part: the sample image in both homes, side
// by side.
func TestRunScript(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	got := e.run(t, "", filepath.Join("..", "..", "scripts", "run"))
	for _, want := range []string{"kernel  ", "OS release           Debian GNU/Linux 12 (bookworm)  ", "PID 1  ", "memory seen  ", "first output after  "} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("status %d: %q is not in\n%s%s", got.status, want, got.stdout, got.stderr)
		}
	}
}

// showFiles prints all that there is to know of every file, but for the times of
// what is made with the container.
const showFiles = `find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /etc/hostname -o -path /etc/hosts -o -path /etc/resolv.conf \) -prune \
	-o \( -path / -o -path /etc -o -path /.dockerenv \) -printf '%p %y %m %U %G %n\n' \
	-o -printf '%p %y %m %U %G %s %n %T@ %l\n' | sort
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /etc/hostname -o -path /etc/hosts -o -path /etc/resolv.conf \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum`

// TestImageIsTheSameInBothHomes compares every file of the Debian image.
func TestImageIsTheSameInBothHomes(t *testing.T) {
	t.Parallel()
	compareHomes(t, theEngine(t), "debian:bookworm", showFiles, 5000)
}

// TestUnusualFilesAreTheSameInBothHomes does so with files that images seldom have.
func TestUnusualFilesAreTheSameInBothHomes(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	path := filepath.Join(t.TempDir(), "unusual.tar")
	if err := os.WriteFile(path, unusual(t), 0o600); err != nil {
		t.Fatal(err)
	}
	e.bothy(t, "import", path, "unusual")
	t.Cleanup(func() { e.run(t, "", "bothy", "rmi", "-f", "unusual") })
	const show = `cd /w && stat -c "%n %F %a %u %g %s %h %y %t,%T" * sub/h3 && find . -type f -print0 | sort -z | xargs -0 sha256sum
		readlink long | wc -c; ls /many | wc -l; ls -l /many | sha256sum`
	out := compareHomes(t, e, "unusual", show, 40)
	for _, want := range []string{
		"suid regular file 6755 1234567 7654321 1 1 ", "h1 regular file 644 0 0 20000 3 ", "sub/h3 regular file 644 0 0 20000 3 ",
		"2023-11-14 22:13:20.123456789", "1969-12-31 20:34:15", "null character special file 666 0 0 0 1 ", "new\nline regular file", "\n4001\n", "\n20000\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// compareHomes runs a script in both homes and gives what both print.
func compareHomes(t *testing.T, e *engine, image, script string, lines int) string {
	t.Helper()
	outs := map[string]string{}
	for _, home := range homes {
		outs[home] = e.bothy(t, "run", "--rm", "--isolation", home, image, "/bin/sh", "-c", script)
	}
	a, b := strings.Split(outs[homes[0]], "\n"), strings.Split(outs[homes[1]], "\n")
	if len(a) != len(b) || len(a) < lines {
		t.Errorf("%d lines in one home, %d in the other", len(a), len(b))
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Errorf("%s: %s\n%s: %s", homes[0], a[i], homes[1], b[i])
		}
	}
	return outs[homes[0]]
}

// unusual is busybox with names, modes, times, kinds and sizes that seldom occur.
func unusual(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(h tar.Header, body string) {
		h.Size, h.Format = int64(len(body)), tar.FormatPAX
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	base, err := os.Open(sampleImage("busybox"))
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	for tr := tar.NewReader(base); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		add(*h, string(body))
	}
	add(tar.Header{Name: "w/", Typeflag: tar.TypeDir, Mode: 0o1777}, "")
	for _, n := range []int{0, 1, 4095, 4096, 4097, 1 << 20} {
		add(tar.Header{Name: fmt.Sprintf("w/size%d", n)}, strings.Repeat("0123456789abcdef\x00", n)[:n])
	}
	for _, name := range []string{"new\nline", "\x01 \t\x7f", "\xff\xfe", strings.Repeat("n", 255)} {
		add(tar.Header{Name: "w/" + name}, name)
	}
	add(tar.Header{Name: "w/suid", Mode: 0o6755, Uid: 1234567, Gid: 7654321}, "x")
	add(tar.Header{Name: "w/before", ModTime: time.Unix(-12345, 0)}, "")
	add(tar.Header{Name: "w/after", ModTime: time.Unix(33000000000, 0)}, "")
	add(tar.Header{Name: "w/precise", ModTime: time.Unix(1700000000, 123456789)}, "")
	add(tar.Header{Name: "w/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}, "")
	add(tar.Header{Name: "w/disk", Typeflag: tar.TypeBlock, Devmajor: 259, Devminor: 70000}, "")
	add(tar.Header{Name: "w/fifo", Typeflag: tar.TypeFifo}, "")
	add(tar.Header{Name: "w/long", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("x", 4000)}, "")
	add(tar.Header{Name: "w/h1"}, strings.Repeat("hard", 5000))
	add(tar.Header{Name: "w/h2", Typeflag: tar.TypeLink, Linkname: "w/h1"}, "")
	add(tar.Header{Name: "w/sub/h3", Typeflag: tar.TypeLink, Linkname: "w/h2"}, "")
	add(tar.Header{Name: "w/" + strings.Repeat("d/", 300) + "f"}, "deep")
	for i := range 20000 {
		add(tar.Header{Name: fmt.Sprintf("many/%06d", i), ModTime: time.Unix(int64(i), 0)}, "")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestVolumesOfAnImageAreThere has volumes that the image has no directories for.
func TestVolumesOfAnImageAreThere(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	e.bothy(t, "import", "-c", "VOLUME /data/a /etc /data/b", sampleImage("busybox"), "volumes")
	t.Cleanup(func() { e.run(t, "", "bothy", "rmi", "-f", "volumes") })
	for _, home := range homes {
		if got := e.bothy(t, "run", "--rm", "--isolation", home, "volumes", "/bin/sh", "-c", "stat -c '%n %F %a %u' /data/*; touch /data/b/x && echo ok"); got != "/data/a directory 755 0\n/data/b directory 755 0\nok" {
			t.Errorf("%s: %s", home, got)
		}
	}
}
