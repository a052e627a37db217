package erofs

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// linked is a layer as busybox's: one program with many names, in directories
// of one block and of several.
func linked() []entry {
	entries := []entry{reg("sbin/zz/program", strings.Repeat("busybox!", 1<<17))}
	for i := range 600 {
		entries = append(entries, special(fmt.Sprintf("bin/%03d-applet", i), tar.TypeLink, "/sbin/zz/program"))
	}
	null := special("dev/null", tar.TypeChar, "")
	null.Devmajor, null.Devminor = 1, 3
	gone := special("gone", tar.TypeLink, "sbin/zz/program")
	return append(entries, special("a", tar.TypeLink, "bin/000-applet"), gone, reg("gone", "replaced"),
		special("sym", tar.TypeSymlink, "a"), special("also", tar.TypeLink, "sym"),
		null, special("also-null", tar.TypeLink, "dev/null"),
		reg("alone", "x"), special("once", tar.TypeLink, "alone"), reg("once", "y"),
		special("empty/", tar.TypeDir, ""), reg("none", ""), special("empty/none", tar.TypeLink, "none"))
}

func TestHardLinksShareAnInode(t *testing.T) {
	t.Parallel()
	path := mustConvert(t, nil, linked()...)
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() > 3<<19 {
		t.Errorf("a file of 1 MiB with 602 names takes %d bytes", fi.Size())
	}
	img := open(t, path)
	_, first := stat(t, img, "a")
	for _, name := range []string{"sbin/zz/program", "bin/000-applet", "bin/123-applet", "bin/599-applet"} {
		if _, st := stat(t, img, name); st.Ino != first.Ino || st.Nlink != 602 || st.Size != 1<<20 {
			t.Errorf("%s: inode %d with %d names and %d bytes, want inode %d", name, st.Ino, st.Nlink, st.Size, first.Ino)
		}
	}
	if got := content(t, img, "gone"); got != "replaced" {
		t.Errorf("gone: %q", got)
	}
	if _, st := stat(t, img, "alone"); st.Nlink != 1 {
		t.Errorf("alone has %d names", st.Nlink)
	}
}

func TestKernelReadsHardLinks(t *testing.T) {
	dir := mount(t, mustConvert(t, nil, linked()...))
	for name, same := range map[string]string{
		"a": "bin/321-applet", "sbin/zz/program": "bin/599-applet", "sym": "also", "dev/null": "also-null", "none": "empty/none",
	} {
		var a, b unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, name), &a); err != nil {
			t.Fatal(err)
		}
		if err := unix.Lstat(filepath.Join(dir, same), &b); err != nil {
			t.Fatal(err)
		}
		if a != b || a.Nlink < 2 {
			t.Errorf("%s and %s: %+v %+v", name, same, a, b)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "bin/321-applet"))
	if err != nil || string(raw) != strings.Repeat("busybox!", 1<<17) {
		t.Errorf("bin/321-applet: %d bytes, %v", len(raw), err)
	}
}
