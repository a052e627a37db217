package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// sides makes the two sides of an overlay. Of the lower's files those in same
// were copied up and not changed.
func sides(t *testing.T) dirs {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making what overlay makes needs root")
	}
	return dirs{upper: t.TempDir(), lower: t.TempDir()}
}

func whiteout(t *testing.T, name string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(path.Dir(name), 0o755), unix.Mknod(name, unix.S_IFCHR, 0)); err != nil {
		t.Fatal(err)
	}
}

// opaque makes a directory that hides the one below it.
func opaque(t *testing.T, name string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(name, 0o755), unix.Setxattr(name, opaqueXattr, []byte("y"), 0)); err != nil {
		t.Fatal(err)
	}
}

// sameTimes gives a copied up file the times that it has below.
func (d dirs) sameTimes(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		var st unix.Stat_t
		if err := errors.Join(unix.Lstat(d.lower+name, &st), unix.UtimesNanoAt(unix.AT_FDCWD, d.upper+name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)); err != nil {
			t.Fatal(err)
		}
	}
}

func (d dirs) diff(t *testing.T, ignore ...string) string {
	t.Helper()
	var out strings.Builder
	err := connect(t, d).Changes(context.Background(), ignore, 1<<20, func(c Change) { fmt.Fprintf(&out, "%c %s\n", "CAD"[c.Kind], c.Path) })
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestChanges(t *testing.T) {
	t.Parallel()
	d := sides(t)
	for _, name := range []string{"/etc/passwd", "/etc/kept", "/etc/chmod", "/gone/x", "/deep/er/gone", "/again/old", "/again/both", "/again/sub/old", "/file", "/up/f", "/etc/hosts.d/x"} {
		write(t, d.lower+name, "1")
	}
	write(t, d.upper+"/etc/passwd", "12")
	write(t, d.upper+"/etc/kept", "1")
	write(t, d.upper+"/etc/chmod", "1")
	write(t, d.upper+"/new/dir/f", "")
	write(t, d.upper+"/again/both", "22")
	write(t, d.upper+"/again/new", "")
	write(t, d.upper+"/again/sub/new", "") // overlay does not mark this one
	write(t, d.upper+"/file/now/a/dir", "")
	write(t, d.upper+"/up/f", "1")
	opaque(t, d.upper+"/again")
	whiteout(t, d.upper+"/gone")
	whiteout(t, d.upper+"/deep/er/gone")
	whiteout(t, d.upper+"/never/was") // in a directory that is new
	if err := os.Chmod(d.upper+"/etc/chmod", 0o600); err != nil {
		t.Fatal(err)
	}
	d.sameTimes(t, "/etc/kept", "/etc/chmod", "/up/f", "/up")
	const want = `C /again
C /again/both
A /again/new
D /again/old
C /again/sub
A /again/sub/new
D /again/sub/old
C /deep
C /deep/er
D /deep/er/gone
C /etc
C /etc/chmod
C /etc/passwd
C /file
A /file/now
A /file/now/a
A /file/now/a/dir
D /gone
A /never
A /new
A /new/dir
A /new/dir/f
`
	if got := d.diff(t); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// What was made to mount something on is no change, as long as it is nothing else.
func TestChangesIgnore(t *testing.T) {
	t.Parallel()
	d := sides(t)
	write(t, d.lower+"/etc/passwd", "1")
	write(t, d.upper+"/etc/hosts", "")
	write(t, d.upper+"/.mark", "")
	write(t, d.upper+"/dev/shm/x", "")
	for _, dir := range []string{"/dev/pts", "/proc"} {
		if err := os.MkdirAll(d.upper+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ignore := []string{"/etc", "/etc/hosts", "/.mark", "/dev", "/dev/pts", "/dev/shm", "/proc"}
	if got, want := d.diff(t, ignore...), "A /dev\nA /dev/shm\nA /dev/shm/x\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if err := os.RemoveAll(d.upper + "/dev/shm/x"); err != nil {
		t.Fatal(err)
	}
	if got := d.diff(t, ignore...); got != "" {
		t.Errorf("got\n%s", got)
	}
	if got, _ := read(t, connect(t, d), Request{Op: OpLayer, Ignore: ignore}); got != "" {
		t.Errorf("layer\n%s", got)
	}
	write(t, d.upper+"/etc/hosts", "not empty")
	if got, want := d.diff(t, ignore...), "C /etc\nA /etc/hosts\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestLayer(t *testing.T) {
	t.Parallel()
	d := sides(t)
	for _, name := range []string{"/etc/passwd", "/gone", "/again/old", "/again/sub/old", "/up/f"} {
		write(t, d.lower+name, "1")
	}
	write(t, d.upper+"/etc/passwd", "12")
	write(t, d.upper+"/again/new", "n")
	opaque(t, d.upper+"/again")
	whiteout(t, d.upper+"/gone")
	whiteout(t, d.upper+"/never")
	if err := errors.Join(os.Link(d.upper+"/etc/passwd", d.upper+"/z"), os.Mkdir(d.upper+"/up", 0o755), os.Mkdir(d.upper+"/again/sub", 0o755)); err != nil {
		t.Fatal(err)
	}
	d.sameTimes(t, "/up", "/again/sub") // overlay marks no directory in one that is marked
	const want = `./ 5  
again/ 5  
again/.wh..wh..opq 0  
again/new 0  n
again/sub/ 5  
etc/ 5  
etc/passwd 0  12
.wh.gone 0  
z 1 etc/passwd 
`
	if got, _ := read(t, connect(t, d), Request{Op: OpLayer}); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A layer cannot say that a file's content lies elsewhere, nor hold a name that
// is its own word for a deletion.
func TestLayerRefuses(t *testing.T) {
	t.Parallel()
	d := sides(t)
	write(t, d.upper+"/f", "")
	if err := unix.Setxattr(d.upper+"/f", metacopyXattr, nil, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/f", "/.wh.x"} {
		write(t, d.upper+name, "")
		r, _, err := connect(t, d).Read(context.Background(), Request{Op: OpLayer})
		if err != nil {
			t.Fatal(err)
		}
		var last error
		for buf := make([]byte, 4096); last == nil; {
			_, last = r.Read(buf)
		}
		r.Close()
		if !errdefs.IsFailedPrecondition(last) || !strings.Contains(last.Error(), name) {
			t.Errorf("%s: %v", name, last)
		}
		if err := os.Remove(d.upper + name); err != nil {
			t.Fatal(err)
		}
	}
}
