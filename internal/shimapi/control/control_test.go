package control

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"bothy/internal/shimapi"
)

// ends opens both ends of a control socket.
func ends(t *testing.T) (a, b *Conn) {
	t.Helper()
	a, file, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	b, err = Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

func TestMessagesAndFiles(t *testing.T) {
	t.Parallel()
	a, b := ends(t)
	path := filepath.Join(t.TempDir(), "f")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for range 2 { // both are there before the first is read, and stay apart
		if err := a.Send(shimapi.PoolMessage{Assign: &shimapi.PoolAssignment{ID: "x", Bundle: "/b"}}, file, file); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		m, files, err := b.Receive()
		if err != nil || m.Assign == nil || m.Assign.ID != "x" || len(files) != 2 {
			t.Fatalf("%+v, %d files, %v", m, len(files), err)
		}
		for _, f := range files {
			got, err1 := f.Stat()
			want, err2 := file.Stat()
			if err := errors.Join(err1, err2); err != nil || !os.SameFile(got, want) {
				t.Errorf("another file came: %v", err)
			}
			_ = f.Close()
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	if err := b.Send(shimapi.PoolMessage{Failed: "x"}); err == nil {
		t.Error("something was sent to nobody")
	}
}

func TestReceivesNothingElse(t *testing.T) {
	t.Parallel()
	a, b := ends(t)
	for _, text := range []string{"nonsense", `{"version":9,"failed":"x"}`} {
		if _, err := a.conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if m, _, err := b.Receive(); err == nil {
			t.Errorf("%q was read as %+v", text, m)
		}
	}
	if err := a.Send(shimapi.PoolMessage{Failed: "x"}, os.Stdin, os.Stdin, os.Stdin); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Receive(); err == nil {
		t.Error("three files were taken")
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	t.Parallel()
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil {
		t.Error("/dev/null was taken for a control socket")
	}
}
