package cache_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"bothy/internal/vm/cache"
)

func testCache(t *testing.T) cache.Cache {
	t.Helper()
	return cache.Cache{Dir: filepath.Join(t.TempDir(), "vm"), Prefix: "thing-", Suffix: ".bin", Kept: 3}
}

func contents(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func says(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

func TestFileIsMadeOnce(t *testing.T) {
	t.Parallel()
	c := testCache(t)
	first, err := c.File(context.Background(), "key", says("first"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.File(context.Background(), "key", says("again"))
	if err != nil || again != first {
		t.Fatalf("got %s, %v, want %s", again, err, first)
	}
	data, err := os.ReadFile(first)
	if err != nil || string(data) != "first" {
		t.Errorf("it holds %q, %v", data, err)
	}
	if st, err := os.Stat(first); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("got %v, %v", st.Mode(), err)
	}
}

func TestFileLeavesNothingHalfMade(t *testing.T) {
	t.Parallel()
	c := testCache(t)
	broken := errors.New("broken")
	_, err := c.File(context.Background(), "key", func(w io.Writer) error {
		return errors.Join(says("half")(w), broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.File(cancelled, "key", says("whole")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	if names := contents(t, c.Dir); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestFileSweeps(t *testing.T) {
	t.Parallel()
	c := testCache(t)
	if err := os.Mkdir(c.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-24 * time.Hour)
	for i, name := range []string{"thing-0.bin", "thing-1.bin", "thing-2.bin", "thing-3.bin", "thing-x.tmp", "other"} {
		path := filepath.Join(c.Dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, long, long.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.File(context.Background(), "new", says("new")); err != nil {
		t.Fatal(err)
	}
	want := []string{"other", "thing-2.bin", "thing-3.bin", "thing-new.bin"}
	if names := contents(t, c.Dir); !slices.Equal(names, want) {
		t.Errorf("kept %v, want %v", names, want)
	}
}

func TestIdentifyTellsAbsence(t *testing.T) {
	t.Parallel()
	if err := cache.Identify(io.Discard, filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
