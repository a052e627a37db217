package engine

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

func newStore(t *testing.T, root string) *store {
	t.Helper()
	s, err := openStore(root, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testRecord(id string) record {
	return record{
		ID: id, Name: "web", Created: time.Unix(100, 5).UTC(), Home: "process", ImageID: "sha256:1", Layers: []string{"/l"},
		Config: &container.Config{Image: "app:1", Cmd: []string{"run"}}, HostConfig: &container.HostConfig{},
	}
}

func load(t *testing.T, s *store) []stored {
	t.Helper()
	all, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestStoreKeepsWhatItWasGiven(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := newStore(t, root)
	rec := testRecord(newID())
	if err := s.create(rec, status{State: container.StateCreated}); err != nil {
		t.Fatal(err)
	}
	if err := s.saveStatus(rec.ID, status{State: container.StateExited, ExitCode: 3, FinishedAt: time.Unix(200, 0).UTC()}); err != nil {
		t.Fatal(err)
	}
	all := load(t, newStore(t, root))
	if len(all) != 1 || all[0].rec.Name != "web" || all[0].rec.Config.Cmd[0] != "run" || !all[0].rec.Created.Equal(rec.Created) {
		t.Fatalf("loaded %+v", all)
	}
	if st := all[0].st; st.State != container.StateExited || st.ExitCode != 3 {
		t.Errorf("loaded %+v", st)
	}
	cleanup, err := s.remove(rec.ID)
	if err != nil {
		t.Fatal(err)
	}
	if all := load(t, newStore(t, root)); len(all) != 0 {
		t.Errorf("after removal: %+v", all)
	}
	cleanup()
}

// TestStoreAfterACrashAtEveryStep walks a create, a save and a removal, and
// looks at what the next bothyd makes of the disk after each file operation.
func TestStoreAfterACrashAtEveryStep(t *testing.T) {
	t.Parallel()
	whole := func(t *testing.T, root, id string) {
		s := newStore(t, root)
		if err := s.create(testRecord(id), status{State: container.StateCreated}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name  string
		crash func(t *testing.T, root, dir string)
		found int
		state State
	}{
		{"directory made", func(t *testing.T, _, dir string) { must(t, os.RemoveAll(dir), os.Mkdir(dir, 0o700)) }, 0, ""},
		{"status written", func(t *testing.T, _, dir string) { must(t, os.Remove(filepath.Join(dir, recordFile))) }, 0, ""},
		{"record half-written", func(t *testing.T, _, dir string) {
			must(t, os.Rename(filepath.Join(dir, recordFile), filepath.Join(dir, recordFile+".tmp")))
		}, 0, ""},
		{"record empty after a power cut", func(t *testing.T, _, dir string) { must(t, os.Truncate(filepath.Join(dir, recordFile), 0)) }, 0, ""},
		{"created", func(*testing.T, string, string) {}, 1, container.StateCreated},
		{"status being replaced", func(t *testing.T, _, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, statusFile+".tmp"), []byte(`{"sta`), 0o600))
		}, 1, container.StateCreated},
		{"status lost in a power cut", func(t *testing.T, _, dir string) { must(t, os.Truncate(filepath.Join(dir, statusFile), 0)) }, 1, container.StateRunning},
		{"status gone", func(t *testing.T, _, dir string) { must(t, os.Remove(filepath.Join(dir, statusFile))) }, 1, container.StateRunning},
		{"renamed for removal", func(t *testing.T, root, dir string) {
			must(t, os.Rename(dir, filepath.Join(root, removedDir, filepath.Base(dir))))
		}, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			root, id := t.TempDir(), newID()
			whole(t, root, id)
			tc.crash(t, root, filepath.Join(root, containersDir, id))
			all := load(t, newStore(t, root))
			if len(all) != tc.found {
				t.Fatalf("found %d containers, want %d", len(all), tc.found)
			}
			if tc.found == 1 && all[0].st.State != tc.state {
				t.Errorf("state %s, want %s", all[0].st.State, tc.state)
			}
			for _, dir := range []string{containersDir, removedDir} {
				left, _ := os.ReadDir(filepath.Join(root, dir))
				if dir == removedDir && len(left) > 0 || len(left) > tc.found {
					t.Errorf("left in %s: %v", dir, left)
				}
			}
		})
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestStoreSetsDamagedRecordsAside(t *testing.T) {
	t.Parallel()
	id := newID()
	for name, text := range map[string]string{
		"no JSON":         `{"schemaVersion":`,
		"another version": `{"schemaVersion":99,"id":"` + id + `","config":{},"hostConfig":{}}`,
		"another's":       `{"schemaVersion":1,"id":"` + newID() + `","config":{},"hostConfig":{}}`,
		"no settings":     `{"schemaVersion":1,"id":"` + id + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			s := newStore(t, root)
			must(t, s.create(testRecord(id), status{State: container.StateCreated}))
			must(t, os.WriteFile(filepath.Join(s.dir(id), recordFile), []byte(text), 0o600))
			if all := load(t, s); len(all) != 0 {
				t.Errorf("loaded %+v", all)
			}
			if _, err := os.Stat(filepath.Join(root, damagedDir, id, recordFile)); err != nil {
				t.Error(err)
			}
		})
	}
}

func FuzzDecodeRecord(f *testing.F) {
	id := strings.Repeat("ab", 32)
	f.Add([]byte(`{"schemaVersion":1,"id":"` + id + `","config":{},"hostConfig":{}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var rec record
		if decodeRecord(data, id, &rec) == nil && (rec.ID != id || rec.Config == nil || rec.HostConfig == nil) {
			t.Errorf("accepted %q", data)
		}
	})
}

func TestStatusIsOverwrittenInPlace(t *testing.T) {
	t.Parallel()
	s := newStore(t, t.TempDir())
	id := newID()
	must(t, s.create(testRecord(id), status{State: container.StateCreated}))
	inode := func() uint64 {
		info, err := os.Stat(filepath.Join(s.dir(id), statusFile))
		must(t, err)
		return info.Sys().(*syscall.Stat_t).Ino
	}
	first := inode()
	for _, tc := range []struct {
		text string
		same bool // it must be the file that create made
	}{
		{"short", true}, {strings.Repeat("long ", 100), true}, {"", true},
		{strings.Repeat("longer than a page", overwritten), false}, {"short again", false}, {"", false},
	} {
		must(t, s.saveStatus(id, status{State: container.StateExited, Error: tc.text}))
		st, err := s.loadStatus(id)
		must(t, err)
		if st.Error != tc.text || st.State != container.StateExited {
			t.Errorf("wrote an error of %d bytes, read %d, state %s", len(tc.text), len(st.Error), st.State)
		}
		if tc.same && inode() != first {
			t.Errorf("error of %d bytes: the file is a new one", len(tc.text))
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir(id), "*.tmp")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
