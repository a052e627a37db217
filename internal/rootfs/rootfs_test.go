package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// dirs is a Source of plain directories.
type dirs struct{ view, root, upper, lower string }

func openPath(name string) (*os.File, error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return os.NewFile(uintptr(fd), name), err
}

func (d dirs) View() (*os.File, error) { return openPath(d.view) }
func (d dirs) Root() (*os.File, error) { return openPath(d.root) }
func (d dirs) Flush() error            { return nil }
func (d dirs) Layers() (upper, lower *os.File, err error) {
	if upper, err = openPath(d.upper); err != nil {
		return nil, nil, err
	}
	lower, err = openPath(d.lower)
	return upper, lower, err
}

// connect serves one request and gives the client's end of it.
func connect(t *testing.T, files Source) *Client {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := [2]net.Conn{}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = Serve(context.Background(), ends[0], ends[0], files)
		ends[0].Close()
	}()
	t.Cleanup(func() {
		ends[1].Close()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Error("the server has not ended")
		}
	})
	return NewClient(ends[1])
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// archive makes a tar of entries; a name that ends with a slash is a directory,
// "a -> b" a symbolic link, "a => b" a hard link, and "a=b" a file.
func archive(t *testing.T, entries ...string) *bytes.Buffer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e, Mode: 0o755, Typeflag: tar.TypeDir, Uid: os.Getuid(), Gid: os.Getgid()}
		body := ""
		if name, target, ok := strings.Cut(e, " -> "); ok {
			h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeSymlink
		} else if name, target, ok := strings.Cut(e, " => "); ok {
			h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeLink
		} else if name, content, ok := strings.Cut(e, "="); ok {
			h.Name, h.Typeflag, h.Size, h.Mode, body = name, tar.TypeReg, int64(len(content)), 0o640, content
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

// list reads a tar into lines.
func list(t *testing.T, r io.Reader) string {
	t.Helper()
	var out strings.Builder
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s %c %s %s\n", h.Name, h.Typeflag, h.Linkname, body)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func read(t *testing.T, c *Client, req Request) (string, *Stat) {
	t.Helper()
	r, st, err := c.Read(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return list(t, r), st
}

func TestPackFollowsDockersNames(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root+"/d/a", "1")
	write(t, root+"/d/sub/b", "2")
	write(t, root+"/top/only/f", "3")
	if err := os.Symlink("/d", root+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(root+"/d/a", root+"/d/z"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/d":             "d/ 5  \nd/a 0  1\nd/sub/ 5  \nd/sub/b 0  2\nd/z 1 d/a \n",
		"d/":             "d/ 5  \nd/a 0  1\nd/sub/ 5  \nd/sub/b 0  2\nd/z 1 d/a \n",
		"/d/.":           "./ 5  \n./a 0  1\n./sub/ 5  \n./sub/b 0  2\n./z 1 ./a \n",
		"/d/sub/b":       "b 0  2\n",
		"/link":          "link 2 /d \n",
		"/link/":         "link/ 5  \nlink/a 0  1\nlink/sub/ 5  \nlink/sub/b 0  2\nlink/z 1 link/a \n",
		"/link/sub/../a": "a 0  1\n",
		"../../d/sub":    "sub/ 5  \nsub/b 0  2\n",
	} {
		if got, _ := read(t, connect(t, dirs{view: root}), Request{Op: OpPack, Path: path}); got != want {
			t.Errorf("%s: got\n%swant\n%s", path, got, want)
		}
	}
	for path, want := range map[string]string{
		"/": "/ 5  \n/only/ 5  \n/only/f 0  3\n", ".": "./ 5  \n./only/ 5  \n./only/f 0  3\n", "./": "./ 5  \n./only/ 5  \n./only/f 0  3\n",
		"/./": "./ 5  \n./only/ 5  \n./only/f 0  3\n", "//": "/ 5  \n/only/ 5  \n/only/f 0  3\n", "..": "/ 5  \n/only/ 5  \n/only/f 0  3\n",
	} {
		if got := first(read(t, connect(t, dirs{view: root + "/top"}), Request{Op: OpPack, Path: path})); got != want {
			t.Errorf("%s: got\n%swant\n%s", path, got, want)
		}
	}
	if got, want := first(read(t, connect(t, dirs{root: root + "/top"}), Request{Op: OpExport})), "only/ 5  \nonly/f 0  3\n"; got != want {
		t.Errorf("export: got\n%swant\n%s", got, want)
	}
}

func first(s string, _ *Stat) string { return s }

func TestStat(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root+"/d/a", "123")
	for name, target := range map[string]string{"/link": "d/a", "/out": "../../../etc/none", "/loop": "loop"} {
		if err := os.Symlink(target, root+name); err != nil {
			t.Fatal(err)
		}
	}
	stat := func(name string) (*Stat, error) { return connect(t, dirs{view: root}).Stat(context.Background(), name) }
	if st, err := stat("/d/a"); err != nil || st.Name != "a" || st.Size != 3 || st.Mode != 0o644 || st.LinkTarget != "" {
		t.Errorf("%+v, %v", st, err)
	}
	if st, err := stat("/link"); err != nil || st.Mode&os.ModeSymlink == 0 || st.LinkTarget != "/d/a" {
		t.Errorf("%+v, %v", st, err)
	}
	if st, err := stat("/out"); err != nil || st.LinkTarget != "/etc/none" {
		t.Errorf("%+v, %v", st, err)
	}
	if st, err := stat("/"); err != nil || st.Name != "/" || !st.Mode.IsDir() {
		t.Errorf("%+v, %v", st, err)
	}
	if st, err := stat("/none"); !errdefs.IsNotFound(err) {
		t.Errorf("%+v, %v", st, err)
	}
	if st, err := stat("/d/a/"); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("%+v, %v", st, err)
	}
	if st, err := stat("/loop/x"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root+"/dest/old", "old")
	write(t, root+"/dest/dir/x", "x")
	write(t, root+"/dest/file", "f")
	if err := os.Symlink("/dest", root+"/link"); err != nil {
		t.Fatal(err)
	}
	unpack := func(path string, keep bool, in io.Reader) error {
		return connect(t, dirs{view: root}).Unpack(context.Background(), Request{Path: path, NoOverwriteDirNonDir: keep}, in)
	}
	if err := unpack("/link", true, archive(t, "old=new", "deep/er/f=1", "s -> /etc/passwd", "old => old", "h => deep/er/f", "dir/", "dir/y=y")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"old": "new", "deep/er/f": "1", "h": "1", "dir/x": "x", "dir/y": "y"} {
		if got, err := os.ReadFile(root + "/dest/" + name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for what, c := range map[string]struct {
		keep    bool
		path    string
		entries []string
		want    string
	}{
		"dir by file":  {true, "/dest", []string{"dir=x"}, `cannot overwrite directory "/dest/dir" with non-directory "/dest"`},
		"file by dir":  {true, "/dest", []string{"file/"}, `cannot overwrite non-directory "/dest/file" with directory "/dest"`},
		"no directory": {false, "/dest/file", nil, "extraction point is not a directory"},
		"climbs":       {false, "/dest", []string{"a/../../x=1"}, "lies outside"},
		"links out":    {false, "/dest", []string{"x => ../../old"}, "lies outside"},
	} {
		if err := unpack(c.path, c.keep, archive(t, c.entries...)); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := unpack("/none", false, archive(t)); !errdefs.IsNotFound(err) {
		t.Errorf("%v", err)
	}
	if err := unpack("/dest", false, archive(t, "dir=now a file", "file/", "file/in=1")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(root + "/dest/dir"); err != nil || string(got) != "now a file" {
		t.Errorf("%q, %v", got, err)
	}
	noLeftovers(t, root)
}

// noLeftovers looks for files that unpacking has not finished.
func noLeftovers(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, _ os.DirEntry, err error) error {
		if strings.Contains(name, ".bothy-") {
			t.Errorf("%s is left", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Links that lead out of the root, in the container or in the archive, lead to
// what is inside it.
func TestUnpackStaysInside(t *testing.T) {
	t.Parallel()
	outside, root := t.TempDir(), t.TempDir()
	write(t, outside+"/secret", "s")
	if err := os.MkdirAll(root+outside, 0o755); err != nil { // what the link means inside
		t.Fatal(err)
	}
	if err := os.Symlink(outside, root+"/evil"); err != nil {
		t.Fatal(err)
	}
	unpack := func(path string, in io.Reader) error {
		return connect(t, dirs{view: root}).Unpack(context.Background(), Request{Path: path}, in)
	}
	for _, in := range []struct {
		path    string
		entries []string
	}{
		{"/", []string{"evil/planted=1"}},
		{"/evil", []string{"planted=1"}},
		{"/", []string{"l -> " + outside, "l/planted=1"}},
		{"/", []string{"u -> ../../../../../../../../../.." + outside, "u/planted=1"}},
		{"/", []string{"h => evil/secret"}},
	} {
		err := unpack(in.path, archive(t, in.entries...))
		if err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("%v: %v", in, err)
		}
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		t.Errorf("outside: %v, %v", entries, err)
	}
	if _, err := os.Stat(root + outside + "/planted"); err != nil {
		t.Error(err)
	}
}

// A container that swaps a directory for a link while files are copied gains
// nothing by it.
func TestSymlinkSwap(t *testing.T) {
	t.Parallel()
	outside, root := t.TempDir(), t.TempDir()
	write(t, outside+"/f", "secret")
	write(t, root+"/d/f", "mine")
	if err := os.Symlink(outside, root+"/link"); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, root+"/d", unix.AT_FDCWD, root+"/link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	for range 40 {
		if r, _, err := connect(t, dirs{view: root}).Read(context.Background(), Request{Op: OpPack, Path: "/d"}); err == nil {
			got, err := io.ReadAll(r)
			if err == nil && bytes.Contains(got, []byte("secret")) {
				t.Fatal("a file from outside was packed")
			}
			r.Close()
		}
		_ = connect(t, dirs{view: root}).Unpack(context.Background(), Request{Path: "/d"}, archive(t, "f=planted", "g=planted"))
	}
	if got, err := os.ReadFile(outside + "/f"); err != nil || string(got) != "secret" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := os.Stat(outside + "/g"); err == nil {
		t.Error("a file was made outside")
	}
}

// An archive that breaks off leaves the file that it was about to replace.
func TestUnpackBreaksOff(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	t.Cleanup(func() { noLeftovers(t, root) }) // when the servers have ended
	write(t, root+"/d/f", "old")
	whole := archive(t, "f="+strings.Repeat("x", 1<<20)).Bytes()
	gone := errors.New("the client is gone")
	in := io.MultiReader(bytes.NewReader(whole[:700<<10]), errReader{gone})
	err := connect(t, dirs{view: root}).Unpack(context.Background(), Request{Path: "/d"}, in)
	if !errors.Is(err, gone) {
		t.Error(err)
	}
	err = connect(t, dirs{view: root}).Unpack(context.Background(), Request{Path: "/d"}, bytes.NewReader(whole[:700<<10]))
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "cut off") {
		t.Error(err)
	}
	if got, err := os.ReadFile(root + "/d/f"); err != nil || string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
}

// A client that goes away ends what it asked for.
func TestReaderGoes(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root+"/big", "")
	if err := os.Truncate(root+"/big", 1<<40); err != nil {
		t.Fatal(err)
	}
	r, _, err := connect(t, dirs{view: root}).Read(context.Background(), Request{Op: OpPack, Path: "/big"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	r.Close() // connect's cleanup waits for the server's end
}

// A sparse file stays one, and its holes do not travel.
func TestSparse(t *testing.T) {
	t.Parallel()
	from, to := t.TempDir(), t.TempDir()
	write(t, from+"/f", "begin")
	f, err := os.OpenFile(from+"/f", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1 << 30
	if _, err := f.WriteAt([]byte("end"), size-3); err != nil {
		t.Fatal(err)
	}
	r, _, err := connect(t, dirs{view: from}).Read(context.Background(), Request{Op: OpPack, Path: "/f"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := connect(t, dirs{view: to}).Unpack(context.Background(), Request{Path: "/"}, r); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(to+"/f", &st); err != nil || st.Size != size || st.Blocks*512 > 1<<20 {
		t.Errorf("size %d, blocks %d, %v", st.Size, st.Blocks, err)
	}
	end := make([]byte, 3)
	g, err := os.Open(to + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.ReadAt(end, size-3); err != nil || string(end) != "end" {
		t.Errorf("%q, %v", end, err)
	}
}

// What root alone can make keeps all that it is.
func TestEverythingTravels(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("making devices and changing owners needs root")
	}
	from, to := t.TempDir(), t.TempDir()
	write(t, from+"/f", "f")
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	stamp := []unix.Timespec{{Sec: 1e9, Nsec: 123456789}, {Sec: 1e9, Nsec: 123456789}}
	for _, err := range []error{
		os.Chown(from+"/f", 1234567, 7654321),
		os.Chmod(from+"/f", 0o755|os.ModeSetuid),
		unix.Setxattr(from+"/f", "security.capability", []byte(capability), 0),
		unix.Setxattr(from+"/f", "user.x", []byte("y"), 0),
		unix.Setxattr(from+"/f", "user.a=b", []byte("which no archive can say"), 0),
		unix.UtimesNanoAt(unix.AT_FDCWD, from+"/f", stamp, 0),
		unix.Mkfifo(from+"/fifo", 0o600),
		unix.Mknod(from+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		os.Symlink("nowhere", from+"/link"),
		os.Lchown(from+"/link", 5, 6),
		os.Mkdir(from+"/dir", 0o1777),
		os.Chmod(from+"/dir", 0o777|os.ModeSticky),
		unix.UtimesNanoAt(unix.AT_FDCWD, from+"/dir", stamp, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r, _, err := connect(t, dirs{view: from}).Read(context.Background(), Request{Op: OpPack, Path: "/."})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := connect(t, dirs{view: to}).Unpack(context.Background(), Request{Path: "/"}, r); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f", "fifo", "null", "link", "dir"} {
		var a, b unix.Stat_t
		if err := errors.Join(unix.Lstat(from+"/"+name, &a), unix.Lstat(to+"/"+name, &b)); err != nil {
			t.Error(err)
			continue
		}
		if a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid || a.Rdev != b.Rdev || a.Mtim != b.Mtim {
			t.Errorf("%s: %+v became %+v", name, a, b)
		}
	}
	buf := make([]byte, 64)
	for name, want := range map[string]string{"security.capability": capability, "user.x": "y"} {
		if n, err := unix.Getxattr(to+"/f", name, buf); err != nil || string(buf[:n]) != want {
			t.Errorf("%s: %q, %v", name, buf[:max(n, 0)], err)
		}
	}
}

func TestOwner(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("changing owners needs root")
	}
	root := t.TempDir()
	write(t, root+"/etc/passwd", "app:x:1001:1002::/:/bin/sh\n")
	err := connect(t, dirs{view: root}).Unpack(context.Background(), Request{Path: "/", Owner: "app"}, archive(t, "a/b/f=1", "d/", "s -> x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "a/b", "a/b/f", "d", "s"} {
		var st unix.Stat_t
		if err := unix.Lstat(root+"/"+name, &st); err != nil || st.Uid != 1001 || st.Gid != 1002 {
			t.Errorf("%s: %d:%d, %v", name, st.Uid, st.Gid, err)
		}
	}
	if err := os.Truncate(root+"/etc/passwd", maxUserFile+1); err != nil {
		t.Fatal(err)
	}
	err = connect(t, dirs{view: root}).Unpack(context.Background(), Request{Path: "/", Owner: "app"}, archive(t, "g=1"))
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "more than") {
		t.Error(err)
	}
}

func TestRefusesRequests(t *testing.T) {
	t.Parallel()
	for _, req := range []Request{{Op: "format"}, {Op: OpPack, Path: "/none"}} {
		if _, _, err := connect(t, dirs{view: t.TempDir()}).Read(context.Background(), req); err == nil {
			t.Errorf("%+v was served", req)
		}
	}
}
