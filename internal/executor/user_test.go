package executor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func etc(t *testing.T, passwd, group string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"passwd": passwd, "group": group} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestResolveUser(t *testing.T) {
	t.Parallel()
	root := etc(t, "root:x:0:0::/root:/bin/sh\nbob:x:7:8::/home/bob:/bin/sh\n", "root:x:0:\nwheel:x:10:root,bob\nbobs:x:8:\n")
	for _, c := range []struct {
		in       specs.User
		groupAdd string
		want     specs.User
		err      string
	}{
		{in: specs.User{}, want: specs.User{AdditionalGids: []uint32{0, 10}}},
		{in: specs.User{Username: "bob"}, want: specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{8, 10}}},
		{in: specs.User{Username: "bob", AdditionalGids: []uint32{99, 10}}, want: specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{99, 10, 8}}},
		{in: specs.User{Username: "7:wheel"}, want: specs.User{UID: 7, GID: 10, AdditionalGids: []uint32{10}}},
		{in: specs.User{Username: "55"}, groupAdd: "wheel,5", want: specs.User{UID: 55, AdditionalGids: []uint32{0, 5, 10}}},
		{in: specs.User{UID: 5, GID: 6}, want: specs.User{UID: 5, GID: 6}},
		{in: specs.User{UID: 5}, groupAdd: "bobs", want: specs.User{UID: 5, AdditionalGids: []uint32{8}}},
		{in: specs.User{Username: "eve"}, err: "unable to find user eve: no matching entries in passwd file"},
		{in: specs.User{Username: "bob:eves"}, err: "unable to find group eves: no matching entries in group file"},
		{in: specs.User{}, groupAdd: "eves", err: "unable to find group eves: no matching entries in group file"},
	} {
		got := c.in
		got.AdditionalGids = slices.Clone(c.in.AdditionalGids)
		err := resolveUser(root, &got, c.groupAdd)
		if c.err != "" {
			if err == nil || err.Error() != c.err || !errors.Is(err, errdefs.ErrInvalidArgument) {
				t.Errorf("%v: error %v, want %s", c.in, err, c.err)
			}
			continue
		}
		slices.Sort(got.AdditionalGids)
		slices.Sort(c.want.AdditionalGids)
		if err != nil || got.UID != c.want.UID || got.GID != c.want.GID || !slices.Equal(got.AdditionalGids, c.want.AdditionalGids) {
			t.Errorf("%v: got %v, %v, want %v", c.in, got, err, c.want)
		}
	}
}

// Links in an image mean what they mean inside it, and a FIFO in the place of
// a file must not block.
func TestResolveUserStaysInRoot(t *testing.T) {
	t.Parallel()
	root := etc(t, "bob:x:7:8:::\n", "")
	passwd := filepath.Join(root, "etc/passwd")
	outside := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(outside, []byte("bob:x:666:666:::\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(passwd); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, passwd); err != nil {
		t.Fatal(err)
	}
	u := specs.User{Username: "bob"}
	if err := resolveUser(root, &u, ""); err == nil {
		t.Errorf("a link led out of the root: %v", u)
	}
	if err := os.Remove(passwd); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(passwd, 0o644); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- resolveUser(root, &u, "") }()
	select {
	case err := <-done:
		if !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("a FIFO as passwd: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a FIFO as passwd blocks")
	}
}

func FuzzResolveUser(f *testing.F) {
	f.Add("bob:x:7:8::/:/bin/sh\n", "bobs:x:8:bob\n", "bob:bobs", "5,bobs")
	f.Add("::::\n:x\n", "a:b", "-1", ",")
	f.Fuzz(func(t *testing.T, passwd, group, name, groupAdd string) {
		u := specs.User{Username: name}
		if err := resolveUser(etc(t, passwd, group), &u, groupAdd); err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%q in %q: %v", name, passwd, err)
		}
	})
}

// A container writes its own files of users: one without end is not read.
func TestUserFileIsBounded(t *testing.T) {
	t.Parallel()
	root := etc(t, "app:x:5:5::/:/bin/sh\n", "")
	if err := os.Truncate(filepath.Join(root, "etc/passwd"), maxUserFile+1); err != nil {
		t.Fatal(err)
	}
	u := specs.User{Username: "app"}
	if err := resolveUser(root, &u, ""); !errors.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), "more than") {
		t.Error(err)
	}
	if names := userNames(root); len(names) != 0 {
		t.Errorf("%d names", len(names))
	}
}
