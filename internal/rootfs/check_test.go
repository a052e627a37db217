package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// What a packer writes passes as it is, whatever was asked for.
func TestCheckedPasses(t *testing.T) {
	t.Parallel()
	d := dirs{view: t.TempDir()}
	d.root = d.view
	for _, name := range []string{"/a/a.b/f", "/a/a/b/c/f", "/a/a/z", "/a.c", "/é", "/z/" + strings.Repeat("x", 250)} {
		write(t, d.view+name, strings.Repeat("content", 100))
	}
	for _, err := range []error{
		os.Link(d.view+"/a/a/z", d.view+"/a/hard"), os.Symlink("/etc", d.view+"/a/soft"), os.Mkdir(d.view+"/empty", 0o700),
		os.Link(d.view+"/a/soft", d.view+"/a/soft2"), unix.Mkfifo(d.view+"/fifo", 0o600), os.Truncate(d.view+"/a.c", 1<<20),
		os.Chtimes(d.view+"/a.c", time.Now(), time.Unix(-1e9, 5)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, req := range []Request{
		{Op: OpExport}, {Op: OpPack, Path: "/"}, {Op: OpPack, Path: "/."}, {Op: OpPack, Path: "a"}, {Op: OpPack, Path: "/a/."},
		{Op: OpPack, Path: "/a/"}, {Op: OpPack, Path: "/a/a/z"}, {Op: OpPack, Path: "a/soft"}, {Op: OpPack, Path: "é"},
	} {
		want, _ := read(t, connect(t, d), req)
		r, _, err := connect(t, d).Read(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		checked := Checked(r, req)
		if got := list(t, checked); got != want {
			t.Errorf("%+v: got\n%swant\n%s", req, got, want)
		}
		if err := checked.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckedRefuses(t *testing.T) {
	t.Parallel()
	pack := Request{Op: OpPack, Path: "/x/d"}
	for _, c := range []struct {
		req     Request
		entries []string
	}{
		{pack, nil},
		{pack, []string{"e/"}},
		{pack, []string{"d=f", "d/a=f"}},
		{pack, []string{"d/", "e=f"}},
		{pack, []string{"d/", "d/../e=f"}},
		{pack, []string{"d/", "d/a -> /etc", "d/a/passwd=f"}},
		{pack, []string{"d/", "d/a -> /etc", "d/a/"}},
		{pack, []string{"d/", "d/a -> /etc", "d/a=f"}},
		{pack, []string{"d/", "d/s -> /etc", "d/t => d/s/passwd"}},
		{pack, []string{"d/", "d/t => /etc/passwd"}},
		{pack, []string{"d/", "d/a/", "d/a/x=f", "d/b=f", "d/a/y=f"}},
		{pack, []string{"d/", "d/a/b=f"}},
		{pack, []string{"d/", "d//etc=f"}},
		{pack, []string{"d/", "d/a//"}},
		{Request{Op: OpPack, Path: "/"}, []string{"/", "/a -> /etc", "/a/passwd=f"}},
		{Request{Op: OpExport}, []string{"/etc/passwd=f"}},
		{Request{Op: OpExport}, []string{"a -> ..", "a/f=f"}},
		{Request{Op: OpExport}, []string{"../f=f"}},
		{Request{Op: OpExport}, []string{"./"}},
	} {
		r := Checked(io.NopCloser(archive(t, c.entries...)), c.req)
		if _, err := io.Copy(io.Discard, r); !errdefs.IsUnknown(err) {
			t.Errorf("%q: %v", c.entries, err)
		}
		r.Close()
	}
}

// Nothing but what a packer writes is passed on, and nothing after the end.
func TestCheckedStrips(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: "f", Uname: "root", Gname: "root", AccessTime: time.Unix(1, 0), ModTime: time.Unix(2, 0), Format: tar.FormatPAX,
		PAXRecords: map[string]string{"VENDOR.x": "y", paxXattr + "user.x": "y", paxXattr + "security.selinux": "y"},
	}
	if err := errors.Join(w.WriteHeader(h), w.Close()); err != nil {
		t.Fatal(err)
	}
	whole := bytes.Clone(buf.Bytes())
	r := Checked(io.NopCloser(&buf), Request{Op: OpExport})
	defer r.Close()
	got, err := tar.NewReader(r).Next()
	if err != nil || got.Uname != "" || !got.AccessTime.IsZero() || got.PAXRecords[paxXattr+"user.x"] != "y" || got.PAXRecords["VENDOR.x"] != "" || got.PAXRecords[paxXattr+"security.selinux"] != "" {
		t.Errorf("%+v, %v", got, err)
	}
	more := Checked(io.NopCloser(io.MultiReader(bytes.NewReader(whole), strings.NewReader("more"))), Request{Op: OpExport})
	defer more.Close()
	if _, err := io.Copy(io.Discard, more); !errdefs.IsUnknown(err) {
		t.Error(err)
	}
	broken := errors.New("broken off")
	cut := Checked(io.NopCloser(io.MultiReader(bytes.NewReader(whole), errReader{broken})), Request{Op: OpExport})
	defer cut.Close()
	if _, err := io.Copy(io.Discard, cut); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// Whoever stops reading ends the archive, also while it stands still.
func TestCheckedIsClosed(t *testing.T) {
	t.Parallel()
	never, w := io.Pipe()
	defer w.Close()
	if err := Checked(never, Request{Op: OpExport}).Close(); err != nil {
		t.Error(err)
	}
}

// Whatever passes can be unpacked by names alone: nothing lies beneath what is no
// directory, and nothing is told of twice.
func FuzzChecked(f *testing.F) {
	f.Add("5d/\x002d/a\x000d/a/passwd")
	f.Add("5d/\x000d/f\x001d/g")
	f.Fuzz(func(t *testing.T, text string) {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for e := range strings.SplitSeq(text, "\x00") {
			if e != "" { // the kind and the name
				_ = w.WriteHeader(&tar.Header{Typeflag: e[0], Name: e[1:], Linkname: "d/f"}) // not all can be written
			}
		}
		_ = w.Close()
		r := Checked(io.NopCloser(&buf), Request{Op: OpPack, Path: "d"})
		defer r.Close()
		seen := map[string]byte{}
		for in := tar.NewReader(r); ; {
			h, err := in.Next()
			if err != nil {
				return
			}
			name := strings.TrimSuffix(h.Name, "/")
			if _, ok := seen[name]; ok {
				t.Fatalf("%q twice", name)
			}
			seen[name] = h.Typeflag
			if i := strings.LastIndexByte(name, '/'); i >= 0 && seen[name[:i]] != tar.TypeDir || i < 0 && name != "d" {
				t.Fatalf("%q lies in no directory", name)
			}
		}
	})
}
