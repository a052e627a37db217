package erofs

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// treeEnv names a tar to compare file by file with what the kernel shows; else
// it is the sample image's.
const (
	treeEnv    = "BOTHY_BENCH_ROOTFS"
	sampleTree = "/var/cache/bothy/images/debian.tar"
)

// mount mounts an EROFS file until the test ends.
func mount(t *testing.T, path string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	err := unix.Mount(path, dir, "erofs", unix.MS_RDONLY, "")
	if err == unix.ENOTBLK || err == unix.ENODEV || err == unix.EPERM {
		t.Skipf("this kernel does not mount an EROFS file: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestKernelReads(t *testing.T) {
	f := reg("bin/ping", strings.Repeat("ping", 3000))
	f.Mode, f.Uid, f.Gid = 0o4755, 100000, 7
	f.PAXRecords = map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"SCHILY.xattr.user.long":           strings.Repeat("v", 10000),
		// version 2; user rwx, group r-x, other r-x
		"SCHILY.xattr.system.posix_acl_access": "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x05\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff",
	}
	entries := []entry{f, reg("etc/.wh.gone", ""), reg("opq/.wh..wh..opq", "")}
	for i := range 2000 {
		entries = append(entries, reg(fmt.Sprintf("many/%04d-%s", i, strings.Repeat("x", i%200)), fmt.Sprint(i)))
	}
	dir := mount(t, mustConvert(t, nil, entries...))
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, "bin/ping"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode != unix.S_IFREG|0o4755 || st.Uid != 100000 || st.Gid != 7 || st.Size != 12000 {
		t.Errorf("bin/ping: %+v", st)
	}
	for k, want := range f.PAXRecords {
		k = strings.TrimPrefix(k, paxXattr)
		buf := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(filepath.Join(dir, "bin/ping"), k, buf)
		if err != nil {
			t.Errorf("%s: %v", k, err)
		} else if got := string(buf[:n]); got != want && k != "system.posix_acl_access" {
			t.Errorf("%s is %q, want %q", k, got, want)
		}
	}
	if err := unix.Lstat(filepath.Join(dir, "etc/gone"), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("whiteout: %+v %v", st, err)
	}
	buf := make([]byte, 8)
	if n, err := unix.Lgetxattr(filepath.Join(dir, "opq"), opaqueXattr, buf); err != nil || string(buf[:n]) != "y" {
		t.Errorf("opaque: %q %v", buf[:n], err)
	}
	list, err := os.ReadDir(filepath.Join(dir, "many"))
	if err != nil || len(list) != 2000 {
		t.Fatalf("many: %d entries, %v", len(list), err)
	}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, "many", e.Name()))
		if err != nil || !strings.HasPrefix(e.Name(), fmt.Sprintf("%04s", string(b))) {
			t.Fatalf("%s: %q %v", e.Name(), b, err)
		}
	}
}

// TestOverlay lays two layers over one another the way a container has them.
func TestOverlay(t *testing.T) {
	base := mount(t, mustConvert(t, nil, reg("keep", "k"), reg("gone", "g"), reg("dir/old", "o"), reg("merged/a", "a"), reg("replaced", "r")))
	top := mount(t, mustConvert(t, nil, reg(".wh.gone", ""), reg("dir/.wh..wh..opq", ""), reg("dir/new", "n"), reg("merged/b", "b"),
		special("replaced/", tar.TypeDir, ""), reg("replaced/x", "x")))
	dir := t.TempDir()
	if err := unix.Mount("overlay", dir, "overlay", unix.MS_RDONLY, "lowerdir="+top+":"+base); err != nil {
		t.Skipf("mounting an overlay: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	var got []string
	if err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, p)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"dir/new", "keep", "merged/a", "merged/b", "replaced/x"}; !slices.Equal(got, want) {
		t.Errorf("the overlay shows %v, want %v", got, want)
	}
}

// TestKernelReadsRootfs compares every file of a real root file system's tar
// with what the kernel shows.
func TestKernelReadsRootfs(t *testing.T) {
	path := os.Getenv(treeEnv)
	if path == "" {
		path = sampleTree
	}
	in, err := os.Open(path)
	if os.IsNotExist(err) {
		t.Skipf("there is no %s: make the sample images, or name the tar of a root file system with %s", path, treeEnv)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "rootfs.erofs"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := Convert(context.Background(), in, fi.Size(), out, Options{TempDir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	dir := mount(t, out.Name())
	seen := 0
	for tr := tar.NewReader(in); ; seen++ {
		h, err := tr.Next()
		if err != nil {
			break
		}
		compare(t, tr, h, filepath.Join(dir, h.Name))
	}
	inImage := 0
	if err := filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { inImage++; return nil }); err != nil {
		t.Fatal(err)
	}
	if seen == 0 || seen != inImage {
		t.Errorf("%d entries in the tar, %d in the image", seen, inImage)
	}
}

func compare(t *testing.T, r *tar.Reader, h *tar.Header, path string) {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Error(err)
		return
	}
	st := fi.Sys().(*syscall.Stat_t)
	if int(st.Uid) != h.Uid || int(st.Gid) != h.Gid || !fi.ModTime().Equal(h.ModTime) {
		t.Errorf("%s: owner or time differs", h.Name)
	}
	if h.Typeflag == tar.TypeLink {
		return
	}
	if want := h.FileInfo().Mode(); fi.Mode() != want {
		t.Errorf("%s: mode %v, want %v", h.Name, fi.Mode(), want)
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		if got, err := os.Readlink(path); err != nil || got != h.Linkname {
			t.Errorf("%s: link to %q, want %q (%v)", h.Name, got, h.Linkname, err)
		}
	case tar.TypeReg:
		got, err := os.ReadFile(path)
		want := make([]byte, h.Size)
		if _, rerr := io.ReadFull(r, want); rerr != nil || err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: content differs (%v %v)", h.Name, err, rerr)
		}
	}
}
