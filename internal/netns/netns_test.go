package netns

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// The process's own namespace, as /proc/self shows it, stays what it was
// however many are made: a thread that moved would show sooner or later.
func TestNewLeavesTheProcessWhereItIs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		moved := false
		file, err := New(func() error {
			moved = unix.Gettid() == unix.Getpid()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if moved {
			t.Fatal("the process's first thread was used")
		}
		file.Close()
		if now, err := os.Readlink("/proc/self/ns/net"); err != nil || now != own {
			t.Fatalf("the process is in %s, was in %s (%v)", now, own, err)
		}
	}
}
