package e2e

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// docker runs the stock CLI and fails the test unless it succeeds.
func (e *engine) docker(t *testing.T, args ...string) string {
	t.Helper()
	r := e.run(t, "", "docker", args...)
	if r.status != 0 {
		t.Fatalf("docker %s: status %d, stderr: %s\nbothyd: %s", strings.Join(args, " "), r.status, r.stderr, e.tail())
	}
	return strings.TrimSuffix(r.stdout, "\n")
}

// refused runs the stock CLI and fails the test unless it fails with want.
func (e *engine) refused(t *testing.T, want string, args ...string) {
	t.Helper()
	if r := e.run(t, "", "docker", args...); r.status == 0 || !strings.Contains(r.stderr, want) {
		t.Errorf("docker %s: status %d, stderr %q, want %q", strings.Join(args, " "), r.status, r.stderr, want)
	}
}

// makeFile makes a file of the host, in a directory of the test's.
func makeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

// entries lists a tar: kind, name, owner, mode and what it holds or links to.
func entries(t *testing.T, archive string) string {
	t.Helper()
	var out strings.Builder
	for in := tar.NewReader(strings.NewReader(archive)); ; {
		h, err := in.Next()
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%c %s %d:%d %o %s%s\n", h.Typeflag, h.Name, h.Uid, h.Gid, h.Mode, h.Linkname, body)
	}
}

const makeFiles = `[ -e /d ] || { mkdir -p /d/sub; echo one > /d/f; ln -s f /d/link; ln /d/f /d/hard; chown 5:6 /d/hard
	chmod 4751 /d/hard; mkfifo /d/pipe; ln -s / /d/sub/root; }; echo ready; exec sleep 1000`

// TestCopy copies into and out of a container that runs, and then does not.
func TestCopy(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name, dir := "copied-"+home, t.TempDir()
		e.removeLater(t, name)
		e.docker(t, "run", "-d", "--name", name, "--isolation", home, "busybox", "sh", "-c", makeFiles)
		e.awaitLog(t, name, "ready")
		file, tree := makeFile(t, dir, "file", "from the host\n"), filepath.Join(dir, "tree")
		makeFile(t, tree, "a/b", "deep\n")
		const packed = "5 d/ 0:0 755 \n0 d/f 5:6 4751 one\n\n1 d/hard 5:6 4751 d/f\n2 d/link 0:0 777 f\n6 d/pipe 0:0 644 \n5 d/sub/ 0:0 755 \n2 d/sub/root 0:0 777 /\n"
		for _, state := range []string{"running", "stopped"} {
			if state == "stopped" {
				e.docker(t, "kill", name)
			}
			if got := entries(t, e.docker(t, "cp", name+":/d", "-")); got != packed {
				t.Errorf("%s: /d is\n%swant\n%s", state, got, packed)
			}
			if got, want := entries(t, e.docker(t, "cp", name+":/d/link", "-")), "2 link 0:0 777 f\n"; got != want {
				t.Errorf("%s: the link is %q", state, got)
			}
			if got, want := entries(t, e.docker(t, "cp", "-L", name+":/d/link", "-")), "0 f 5:6 4751 one\n\n"; got != want {
				t.Errorf("%s: followed, the link is %q", state, got)
			}
			out := filepath.Join(dir, "out-"+state)
			e.docker(t, "cp", name+":/d/.", out)
			if got, err := os.ReadFile(filepath.Join(out, "f")); err != nil || string(got) != "one\n" {
				t.Errorf("%s: copied out: %q, %v", state, got, err)
			}
			e.docker(t, "cp", file, name+":/in-"+state)
			e.docker(t, "cp", tree, name+":/d/sub/root/tree-"+state) // through a link that means the container's root
			if got := e.docker(t, "cp", name+":/tree-"+state+"/a/b", "-"); !strings.Contains(got, "deep\n") {
				t.Errorf("%s: a tree did not arrive", state)
			}
			e.refused(t, "Could not find the file /none in container "+name, "cp", name+":/none", "-")
			e.refused(t, "no such directory", "cp", file, name+":/none/x/")
			e.refused(t, "cannot copy directory", "cp", tree, name+":/d/f")
		}
		e.docker(t, "start", name)
		if got := e.docker(t, "exec", name, "sh", "-c", "cat /in-running /in-stopped /tree-running/a/b /tree-stopped/a/b; stat -c %a%u /in-running"); got != "from the host\nfrom the host\ndeep\ndeep\n6400" {
			t.Errorf("after a start: %q", got)
		}
		e.docker(t, "pause", name)
		e.docker(t, "cp", file, name+":/paused")
		if got := e.docker(t, "cp", name+":/paused", "-"); !strings.Contains(got, "from the host\n") {
			t.Error("nothing came out of a paused container")
		}
	})
}

// awaitLog waits until a container has said something, a whole line.
func (e *engine) awaitLog(t *testing.T, name, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := e.command(ctx, "docker", "logs", "-f", name)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == want {
			return
		}
	}
	t.Fatalf("%s does not say %q; bothyd: %s", name, want, e.tail())
}

// TestCopyToCreated gives a container its files before its first start, to its
// own user.
func TestCopyToCreated(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := "created-" + home
		e.removeLater(t, name)
		e.docker(t, "create", "--name", name, "--isolation", home, "-u", "7:8", "busybox", "stat", "-c", "%u:%g %s", "/given")
		if got := e.docker(t, "diff", name); got != "" {
			t.Errorf("a new container differs: %s", got)
		}
		e.docker(t, "cp", "-a", makeFile(t, t.TempDir(), "given", "12345"), name+":/given")
		if got := e.docker(t, "start", "-a", name); got != "7:8 5" {
			t.Errorf("the container sees %q", got)
		}
	})
}

// TestCopyToReadOnly refuses what docker refuses, and lets through what is
// writable.
func TestCopyToReadOnly(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name, dir := "readonly-"+home, t.TempDir()
		e.removeLater(t, name)
		args := []string{"run", "-d", "--read-only", "--tmpfs", "/tmp", "--name", name, "--isolation", home}
		writable, readable := filepath.Join(dir, "rw"), filepath.Join(dir, "ro")
		if home == "process" { // a machine has no binds yet
			args = append(args, "-v", writable+":/rw", "-v", readable+":/ro:ro")
		}
		e.docker(t, append(args, "busybox", "sleep", "1000")...)
		file := makeFile(t, dir, "file", "x")
		e.docker(t, "cp", file, name+":/tmp/")
		if got := e.docker(t, "exec", name, "cat", "/tmp/file"); got != "x" {
			t.Errorf("/tmp/file is %q", got)
		}
		for _, state := range []string{"running", "stopped"} {
			if state == "stopped" {
				e.docker(t, "kill", name)
			}
			e.refused(t, "container rootfs is marked read-only", "cp", file, name+":/")
			if home == "process" {
				e.refused(t, "mounted volume is marked read-only", "cp", file, name+":/ro/")
				e.docker(t, "cp", file, name+":/rw/"+state)
				if _, err := os.Stat(filepath.Join(writable, state)); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// TestDiffExportCommit looks at what a container has changed in all the ways
// that there are.
func TestDiffExportCommit(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name, img := "changed-"+home, "committed-"+home+":1"
		e.removeLater(t, name)
		t.Cleanup(func() { e.run(t, "", "docker", "rmi", "-f", img, "imported-"+home) })
		e.docker(t, "run", "-d", "--name", name, "--isolation", home, "-e", "A=1", "debian:bookworm", "sh", "-c",
			`mkdir /new && echo 1 > /new/f && setcap cap_net_raw=ep /new/f 2>/dev/null; rm /etc/issue && rm -r /opt && mkdir /opt && touch /opt/again && rm -r /etc/skel && chmod 700 /srv &&
			 echo x >> /etc/passwd && echo ready && exec sleep 1000`)
		e.awaitLog(t, name, "ready")
		const want = "C /etc\nD /etc/issue\nC /etc/passwd\nD /etc/skel\nA /new\nA /new/f\nC /opt\nA /opt/again\nC /srv"
		if got := e.docker(t, "diff", name); got != want {
			t.Errorf("diff is\n%s\nwant\n%s", got, want)
		}
		e.docker(t, "commit", "-a", "me", "-m", "why", "-c", `CMD ["sh", "-c", "cat /new/f; ls -d /etc/issue /etc/skel 2>/dev/null; ls /opt; stat -c %a /srv; tail -n 1 /etc/passwd; echo $A $B"]`, "-c", "ENV B=2", name, img)
		for _, in := range homes {
			if got := e.docker(t, "run", "--rm", "--isolation", in, img); got != "1\nagain\n700\nx\n1 2" {
				t.Errorf("the image says %q in %s", got, in)
			}
		}
		if got := e.docker(t, "inspect", "-f", "{{.Author}} {{.Comment}} {{len .RootFS.Layers}}", img); got != "me why 2" {
			t.Errorf("the image is %q", got)
		}
		if got := e.docker(t, "inspect", "-f", "{{.State.Status}}", name); got != "running" {
			t.Errorf("after commit the container is %s", got)
		}
		e.docker(t, "kill", name)
		if got := e.docker(t, "diff", name); got != want {
			t.Errorf("stopped, diff is\n%s\nwant\n%s", got, want)
		}
		exported := filepath.Join(t.TempDir(), "exported.tar")
		e.docker(t, "export", "-o", exported, name)
		e.docker(t, "import", exported, "imported-"+home)
		if got := e.docker(t, "run", "--rm", "imported-"+home, "sh", "-c", "cat /new/f; ls /opt; ls /proc | grep -c '^1$'"); got != "1\nagain\n1" {
			t.Errorf("the exported container says %q", got)
		}
	})
}

// TestCopyAttack swaps a directory for a link to one of the host's while it is
// copied, in both directions.
func TestCopyAttack(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name, dir := "attacker-"+home, t.TempDir()
		e.removeLater(t, name)
		makeFile(t, dir, "f", "the host's secret")
		e.docker(t, "run", "-d", "--name", name, "--isolation", home, "busybox", "sh", "-c",
			fmt.Sprintf("mkdir /d && echo mine > /d/f; while :; do mv -T /d /x; ln -s %s /d; rm /d; mv -T /x /d; done 2>/dev/null", dir))
		file := makeFile(t, t.TempDir(), "planted", "planted")
		for range 8 {
			for _, path := range []string{"/d", "/d/f", "/d/"} {
				if r := e.run(t, "", "docker", "cp", name+":"+path, "-"); strings.Contains(r.stdout, "secret") {
					t.Fatal("a file of the host was copied out")
				}
			}
			e.run(t, "", "docker", "cp", file, name+":/d/f")
			e.run(t, "", "docker", "cp", file, name+":/d/")
		}
		if got, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(got) != "the host's secret" {
			t.Errorf("the host's file is %q, %v", got, err)
		}
		if found, err := os.ReadDir(dir); err != nil || len(found) != 1 {
			t.Errorf("the host's directory has %v, %v", found, err)
		}
	})
}

// TestCopySparse takes a file of 5 GB with nothing in it but its end out of a
// container, and one like it in.
func TestCopySparse(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name, dir := "sparse-"+home, t.TempDir()
		e.removeLater(t, name)
		e.docker(t, "run", "-d", "--name", name, "--isolation", home, "busybox", "sh", "-c", "truncate -s 5G /big; echo end >> /big; echo ready; exec sleep 1000")
		e.awaitLog(t, name, "ready")
		r := e.run(t, "", "sh", "-c", "docker cp "+name+":/big - | wc -c")
		if got := strings.TrimSpace(r.stdout); r.status != 0 || len(got) != 10 || got < "5368709124" {
			t.Errorf("the archive has %s bytes, %s", got, r.stderr)
		}
		file := makeFile(t, dir, "file", "begin")
		if err := os.Truncate(file, 256<<20); err != nil {
			t.Fatal(err)
		}
		e.docker(t, "cp", file, name+":/copied")
		if got := e.docker(t, "exec", name, "sh", "-c", "stat -c %s /copied; head -c 5 /copied; [ $(stat -c %b /copied) -lt 1000 ] && echo :sparse"); got != "268435456\nbegin:sparse" {
			t.Errorf("copied in: %q", got)
		}
	})
}

// TestCopierVanishes leaves in the middle of a copy, in either direction.
func TestCopierVanishes(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := "left-" + home
		e.removeLater(t, name)
		e.docker(t, "run", "-d", "--name", name, "--isolation", home, "busybox", "sh", "-c", "mkdir /d; echo old > /d/f; truncate -s 9G /big; echo ready; exec sleep 1000")
		e.awaitLog(t, name, "ready")
		for _, state := range []string{"running", "stopped"} {
			if state == "stopped" {
				e.docker(t, "kill", name)
			}
			var archive bytes.Buffer
			w := tar.NewWriter(&archive)
			if err := w.WriteHeader(&tar.Header{Name: "f", Size: 1 << 20, Mode: 0o644}); err != nil {
				t.Fatal(err)
			}
			archive.Write(bytes.Repeat([]byte("new"), 1<<17))
			put := fmt.Sprintf("PUT /containers/%s/archive?path=/d HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n%s", name, &archive)
			get := fmt.Sprintf("GET /containers/%s/archive?path=/big HTTP/1.1\r\nHost: x\r\n\r\n", name)
			for _, request := range []string{put, get} {
				conn, err := net.Dial("unix", e.socket)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(conn, request); err != nil {
					t.Fatal(err)
				}
				if request == get {
					if _, err := io.ReadFull(conn, make([]byte, 1<<20)); err != nil {
						t.Fatal(err)
					}
				}
				conn.Close()
			}
		}
		e.docker(t, "start", name) // waits for nobody who has gone
		if got := e.docker(t, "exec", name, "sh", "-c", "ls -A /d; cat /d/f"); got != "f\nold" {
			t.Errorf("left behind: %q", got)
		}
	})
}
