package erofs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	goerofs "github.com/erofs/go-erofs"
	"golang.org/x/sys/unix"
)

type entry struct {
	tar.Header
	body string
}

func tarOf(tb testing.TB, entries ...entry) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		e.Size = int64(len(e.body))
		if err := w.WriteHeader(&e.Header); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func reg(name, body string) entry {
	return entry{tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg}, body}
}

func special(name string, kind byte, link string) entry {
	return entry{tar.Header{Name: name, Mode: 0o755, Typeflag: kind, Linkname: link}, ""}
}

// convert makes an image in a temporary file.
func convert(tb testing.TB, raw []byte, lower Lower) (string, error) {
	tb.Helper()
	f, err := os.Create(filepath.Join(tb.TempDir(), "layer.erofs"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	return f.Name(), Convert(context.Background(), bytes.NewReader(raw), int64(len(raw)), f, Options{TempDir: tb.TempDir(), Lower: lower})
}

func mustConvert(tb testing.TB, lower Lower, entries ...entry) string {
	tb.Helper()
	p, err := convert(tb, tarOf(tb, entries...), lower)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func open(tb testing.TB, path string) fs.ReadLinkFS {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	img, err := goerofs.Open(f)
	if err != nil {
		tb.Fatal(err)
	}
	return img.(fs.ReadLinkFS)
}

func stat(tb testing.TB, img fs.ReadLinkFS, name string) (fs.FileInfo, *goerofs.Stat) {
	tb.Helper()
	fi, err := img.Lstat(name)
	if err != nil {
		tb.Fatal(err)
	}
	return fi, fi.Sys().(*goerofs.Stat)
}

func content(tb testing.TB, img fs.FS, name string) string {
	tb.Helper()
	b, err := fs.ReadFile(img, name)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func TestConvertKeepsWhatTheTarSays(t *testing.T) {
	t.Parallel()
	when := time.Unix(1700000000, 123000000)
	big := strings.Repeat("0123456789abcdef", 20000)
	long := strings.Repeat("n", 255)
	f := reg("./etc/shadow", "secret")
	f.Mode, f.Uid, f.Gid, f.ModTime, f.Format = 0o4640, 70000, 42, when, tar.FormatPAX
	f.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02", "SCHILY.xattr.user.a": "b", "SCHILY.xattr.trusted.overlay.redirect": "/etc"}
	null := special("dev/null", tar.TypeChar, "")
	null.Devmajor, null.Devminor = 1, 3
	disk := special("dev/disk", tar.TypeBlock, "")
	disk.Devmajor, disk.Devminor = 259, 70000
	img := open(t, mustConvert(t, nil,
		special("./etc/", tar.TypeDir, ""), f, reg("big", big), reg("empty", ""), reg("d/"+long, "x"),
		special("hard", tar.TypeLink, "./etc/shadow"), special("sym", tar.TypeSymlink, "../../etc/shadow"),
		null, disk, special("run/fifo", tar.TypeFifo, "")))

	_, st := stat(t, img, "etc/shadow")
	if st.Mode != fs.ModeSetuid|0o640 || st.UID != 70000 || st.GID != 42 || st.Mtime != 1700000000 || st.MtimeNs != 123000000 {
		t.Errorf("etc/shadow: %v %+v", st.Mode, st)
	}
	if st.Xattrs["security.capability"] != "\x01\x00\x00\x02" || st.Xattrs["user.a"] != "b" || len(st.Xattrs) != 2 {
		t.Errorf("attributes: %q", st.Xattrs)
	}
	for name, want := range map[string]string{"etc/shadow": "secret", "hard": "secret", "big": big, "empty": "", "d/" + long: "x"} {
		if got := content(t, img, name); got != want {
			t.Errorf("%.20s: %d bytes, want %d", name, len(got), len(want))
		}
	}
	if target, err := img.ReadLink("sym"); err != nil || target != "../../etc/shadow" {
		t.Errorf("sym: %q %v", target, err)
	}
	if fi, st := stat(t, img, "dev/null"); fi.Mode().Type() != fs.ModeDevice|fs.ModeCharDevice || st.Rdev != uint32(unix.Mkdev(1, 3)) {
		t.Errorf("dev/null: %v %+v", fi.Mode(), st)
	}
	if fi, st := stat(t, img, "dev/disk"); fi.Mode().Type() != fs.ModeDevice || st.Rdev != uint32(unix.Mkdev(259, 70000)) {
		t.Errorf("dev/disk: %v %+v", fi.Mode(), st)
	}
	if fi, _ := stat(t, img, "run/fifo"); fi.Mode().Type() != fs.ModeNamedPipe {
		t.Errorf("run/fifo: %v", fi.Mode())
	}
}

func TestWhiteouts(t *testing.T) {
	t.Parallel()
	img := open(t, mustConvert(t, nil,
		reg("a/.wh.gone", ""), reg("b/.wh..wh..opq", ""), reg("b/new", "n"),
		reg("c/.wh.replaced", ""), reg("c/replaced/x", "x"), reg(".wh..wh.plnk/y", "")))
	if fi, st := stat(t, img, "a/gone"); fi.Mode().Type() != fs.ModeDevice|fs.ModeCharDevice || st.Rdev != 0 {
		t.Errorf("whiteout: %v %+v", fi.Mode(), st)
	}
	for _, dir := range []string{"b", "c/replaced"} {
		if _, st := stat(t, img, dir); st.Xattrs["trusted.overlay.opaque"] != "y" {
			t.Errorf("%s is not opaque: %v", dir, st.Xattrs)
		}
	}
	if _, st := stat(t, img, "a"); len(st.Xattrs) != 0 {
		t.Errorf("a has attributes: %v", st.Xattrs)
	}
}

func TestLaterEntriesWin(t *testing.T) {
	t.Parallel()
	d := special("d/", tar.TypeDir, "")
	d.Mode = 0o700
	img := open(t, mustConvert(t, nil,
		reg("f", "old"), special("h", tar.TypeLink, "f"), reg("f", "new"),
		reg("d/x", "x"), d, reg("e", "file"), reg("e2/x", "x"), reg("e2", "file")))
	for name, want := range map[string]string{"f": "new", "h": "old", "d/x": "x", "e2": "file"} {
		if got := content(t, img, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if fi, _ := stat(t, img, "d"); fi.Mode().Perm() != 0o700 {
		t.Errorf("d: %v", fi.Mode())
	}
}

func TestSymbolicLinksAreFollowedInside(t *testing.T) {
	t.Parallel()
	img := open(t, mustConvert(t, nil,
		special("usr/lib/", tar.TypeDir, ""), special("lib", tar.TypeSymlink, "usr/lib"), reg("lib/a", "a"),
		special("out", tar.TypeSymlink, "../../../.."), reg("out/b", "b"), special("abs", tar.TypeSymlink, "/usr"), reg("abs/c", "c")))
	for name, want := range map[string]string{"usr/lib/a": "a", "b": "b", "usr/c": "c"} {
		if got := content(t, img, name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
}

func TestImpliedDirectoriesAreAsBelow(t *testing.T) {
	t.Parallel()
	lower := func(p string) (*LowerEntry, error) {
		switch p {
		case "/tmp":
			return &LowerEntry{Mode: fs.ModeDir | fs.ModeSticky | 0o777, UID: 5}, nil
		case "/lib":
			return &LowerEntry{Mode: fs.ModeSymlink, Target: "usr/lib"}, nil
		}
		return nil, nil
	}
	img := open(t, mustConvert(t, lower, reg("tmp/x", "x"), reg("lib/y", "y")))
	if _, st := stat(t, img, "tmp"); st.Mode != fs.ModeDir|fs.ModeSticky|0o777 || st.UID != 5 {
		t.Errorf("tmp: %v", st.Mode)
	}
	if got := content(t, img, "usr/lib/y"); got != "y" {
		t.Errorf("usr/lib/y: %q", got)
	}
	if _, err := img.Lstat("lib"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lib hides the link below: %v", err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	whole := tarOf(t, reg("a", strings.Repeat("a", 5000)), reg("b", strings.Repeat("b", 5000)))
	broken := bytes.Clone(whole)
	copy(broken[512*11:], "not a header any more")
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"climb":           {tarOf(t, reg("../../etc/x", "")), `"../../etc/x" climbs out`},
		"climb inside":    {tarOf(t, reg("a/../../x", "")), "climbs out"},
		"hard link out":   {tarOf(t, special("l", tar.TypeLink, "../../etc/shadow")), `hard link target "../../etc/shadow" climbs out`},
		"hard link gone":  {tarOf(t, special("l", tar.TypeLink, "/etc/shadow")), "does not have"},
		"hard link dir":   {tarOf(t, special("d/", tar.TypeDir, ""), special("l", tar.TypeLink, "d")), "means the directory"},
		"link loop":       {tarOf(t, special("a", tar.TypeSymlink, "b"), special("b", tar.TypeSymlink, "a"), reg("a/x", "")), "too many symbolic links"},
		"below a file":    {tarOf(t, reg("f", ""), reg("f/x", "")), "not a directory"},
		"long name":       {tarOf(t, reg(strings.Repeat("x", 256), "")), "more than 255 bytes"},
		"empty link":      {tarOf(t, special("l", tar.TypeSymlink, "")), "no usable target"},
		"not a tar":       {[]byte(strings.Repeat("This is a text file, not an archive.\n", 100)), "not a tar archive"},
		"short":           {[]byte("hi"), "not a tar archive"},
		"cut in a file":   {whole[:3000], "ends inside"},
		"cut in a header": {whole[:512*11+100], "cut off"},
		"broken header":   {broken, "broken after 1"},
		"whiteout of dot": {tarOf(t, reg("a/.wh...", "")), "names nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := convert(t, c.raw, nil)
			var refused *RefusedError
			if !errors.As(err, &refused) || !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestCanceled(t *testing.T) {
	t.Parallel()
	raw := tarOf(t, reg("a", "a"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Convert(ctx, bytes.NewReader(raw), int64(len(raw)), f, Options{TempDir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestZerosBecomeHoles(t *testing.T) {
	t.Parallel()
	path := mustConvert(t, nil, reg("zero", strings.Repeat("\x00", 8<<20)), reg("x", "x"))
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size < 8<<20 || st.Blocks*512 > 1<<20 {
		t.Errorf("%d bytes take %d on disk", st.Size, st.Blocks*512)
	}
	if got := content(t, open(t, path), "zero"); got != strings.Repeat("\x00", 8<<20) {
		t.Error("the zeros are not zeros")
	}
}

// FuzzConvert finds more in less time with -fuzzminimizetime 20x: making a
// small input smaller takes Go a minute each by default.
func FuzzConvert(f *testing.F) {
	f.Add(tarOf(f, reg("a/b", "hello"), special("l", tar.TypeSymlink, "a"), special("h", tar.TypeLink, "a/b"), reg("a/.wh.c", "")))
	f.Add(tarOf(f, reg("../x", "")))
	f.Add(make([]byte, 1024))
	f.Fuzz(func(t *testing.T, raw []byte) {
		path, err := convert(t, raw, nil)
		if err != nil {
			return
		}
		// What is accepted must be readable, every name inside.
		img := open(t, path)
		if err := fs.WalkDir(img, ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			_, err = d.Info()
			return err
		}); err != nil {
			t.Errorf("reading the image back: %v", err)
		}
	})
}

func TestEntriesAreBounded(t *testing.T) {
	t.Parallel()
	tr := newTree(nil)
	tr.weight = maxWeight - 32<<20
	deep := strings.Repeat("d/", maxDepth-1)
	var err error
	for i := 0; err == nil && i < 2000; i++ { // each makes as many directories as may be
		err = tr.add(&tar.Header{Name: fmt.Sprintf("%d/%sf", i, deep), Typeflag: tar.TypeReg}, data{})
	}
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "too many entries") {
		t.Errorf("%v", err)
	}
}
