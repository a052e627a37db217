package template

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

const memorySize = 8 << 20

func shape(cpus int) Shape {
	return Shape{Host: Host{Kernel: "sha256:1"}, Memory: memorySize, CPUs: cpus, Disk: 1 << 20}
}

func openStoreIn(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newStore(t *testing.T) *Store {
	t.Helper()
	return openStoreIn(t, filepath.Join(t.TempDir(), "templates"))
}

// fileOf makes a sparse file of size bytes that has text here and there.
func fileOf(t testing.TB, text string, size int64) *os.File {
	t.Helper()
	return fileAt(t, filepath.Join(t.TempDir(), "file"), text, size)
}

func fileAt(t testing.TB, path, text string, size int64) *os.File {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at+int64(len(text)) <= size; at += 1<<20 + 4095 {
		if _, err := f.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// save makes a template whose files hold text.
func save(t testing.TB, s *Store, sh Shape, text string) digest.Digest {
	t.Helper()
	stage, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	d, err := saveIn(t, stage, sh, text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func saveIn(t testing.TB, stage *Stage, sh Shape, text string) (digest.Digest, error) {
	t.Helper()
	fileAt(t, stage.Disk(), text, sh.Disk)
	return stage.Save(t.Context(), Made{Shape: sh, Clock: 7, Memory: fileOf(t, text, sh.Memory), State: fileOf(t, text, 3*int64(len(text)))})
}

// holds fails unless the template's files begin with text.
func holds(t *testing.T, s *Store, d digest.Digest, text string) {
	t.Helper()
	tmpl, err := s.Use(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer tmpl.Close()
	for _, f := range []*os.File{tmpl.Memory, tmpl.State, tmpl.Disk} {
		got := make([]byte, len(text))
		if _, err := f.ReadAt(got, 0); err != nil || string(got) != text {
			t.Errorf("%s has %q, %v", f.Name(), got, err)
		}
	}
}

// nothingElse fails if the store's directory has other entries than these.
func nothingElse(t *testing.T, s *Store, want ...digest.Digest) {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(want) {
		t.Errorf("the store has %v, want %v", entries, want)
	}
	for _, d := range want {
		if !s.Has(d) {
			t.Errorf("%s is not there", d)
		}
	}
}

func TestSavedIsUsed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := save(t, s, shape(1), "first")
	nothingElse(t, s, d)
	holds(t, s, d, "first") // which loads it
	holds(t, s, d, "first")
	holds(t, openStoreIn(t, s.dir), d, "first")

	tmpl, err := s.Use(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer tmpl.Close()
	if st, err := tmpl.Memory.Stat(); err != nil || st.Size() != memorySize || tmpl.Clock != 7 {
		t.Errorf("%v, %v, clock %d", st, err, tmpl.Clock)
	}
	all, err := s.List()
	if err != nil || len(all) != 1 || all[0].Digest != d || all[0].Shape != shape(1) || !all[0].Loaded || all[0].Size < block || all[0].Size >= memorySize {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestUsedIsSealed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := save(t, s, shape(1), "first")
	tmpl, err := s.Use(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer tmpl.Close()
	for _, f := range []*os.File{tmpl.Memory, tmpl.State} {
		if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
			t.Errorf("writing to %s: %v", f.Name(), err)
		}
		if err := f.Truncate(0); !errors.Is(err, unix.EPERM) {
			t.Errorf("cutting %s: %v", f.Name(), err)
		}
	}
	if _, err := tmpl.Disk.WriteAt([]byte("x"), 0); err == nil {
		t.Error("its disk can be written to")
	}
}

func TestSealedStaysInMemory(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first, err := s.Use(t.Context(), save(t, s, shape(1), "first"))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	stage, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	fileAt(t, stage.Disk(), "disk", 1<<20)
	d, err := stage.Save(t.Context(), Made{Shape: shape(2), Memory: first.Memory, State: fileOf(t, "state", 100)})
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.List()
	if err != nil || len(all) != 2 || !all[0].Loaded || !all[1].Loaded {
		t.Errorf("%+v, %v", all, err)
	}
	tmpl, err := s.Use(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer tmpl.Close()
	got := make([]byte, 4)
	if _, err := tmpl.Disk.ReadAt(got, 0); err != nil || string(got) != "disk" {
		t.Errorf("its disk has %q, %v", got, err)
	}
}

func TestAnotherShapeHasAnotherDigest(t *testing.T) {
	t.Parallel()
	seen := map[digest.Digest]bool{}
	a, b, c := shape(1), shape(1), shape(1)
	a.Processor, b.Layout, c.Disk = "x", "x", 9
	for _, s := range []Shape{shape(1), shape(2), a, b, c} {
		if d := s.Digest(); seen[d] || d.Validate() != nil {
			t.Errorf("%+v has %s", s, d)
		} else {
			seen[d] = true
		}
	}
}

func TestNewTakesTheOldOnesPlace(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := save(t, s, shape(1), "first")
	old, err := s.Use(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	save(t, s, shape(1), "other")
	holds(t, s, d, "other")
	nothingElse(t, s, d)
	got := make([]byte, 5)
	if _, err := old.Memory.ReadAt(got, 0); err != nil || string(got) != "first" {
		t.Errorf("what was in use has %q, %v", got, err)
	}
}

func TestAbsent(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if _, err := s.Use(t.Context(), shape(1).Digest()); !errdefs.IsNotFound(err) {
		t.Errorf("using: %v", err)
	}
	if _, err := s.Drop(shape(1).Digest()); !errdefs.IsNotFound(err) {
		t.Errorf("dropping: %v", err)
	}
	nothingElse(t, s)
}

func TestUnload(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := save(t, s, shape(1), "first")
	loaded := func() bool {
		all, err := s.List()
		if err != nil || len(all) != 1 {
			t.Fatalf("%+v, %v", all, err)
		}
		return all[0].Loaded
	}
	holds(t, s, d, "first")
	if err := s.Unload(time.Now().Add(-time.Hour)); err != nil || !loaded() {
		t.Errorf("what was used is gone, %v", err)
	}
	if err := s.Unload(time.Now().Add(time.Hour)); err != nil || loaded() {
		t.Errorf("what was not used is there, %v", err)
	}
	holds(t, s, d, "first")
}

func TestDamageIsDropped(t *testing.T) {
	t.Parallel()
	flip := func(at int64) func(string) error {
		return func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte{0xff}, at)
			return errors.Join(err, f.Close())
		}
	}
	cut := func(path string) error { return os.Truncate(path, 100) }
	link := func(path string) error {
		if err := os.Rename(path, path+"2"); err != nil {
			return err
		}
		return os.Symlink(path+"2", path)
	}
	edit := func(old, to string) func(string) error {
		return func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if !bytes.Contains(data, []byte(old)) {
				return errors.New("nothing to edit")
			}
			return os.WriteFile(path, bytes.Replace(data, []byte(old), []byte(to), 1), 0o600)
		}
	}
	for name, c := range map[string]struct {
		file   string
		do     func(path string) error
		reason string
	}{
		"memory altered":     {memoryFile, flip(5 << 20), "its file memory was altered"},
		"memory cut":         {memoryFile, cut, "has 100 bytes"},
		"memory gone":        {memoryFile, os.Remove, "memory is missing"},
		"memory elsewhere":   {memoryFile, link, "memory is missing"},
		"state altered":      {stateFile, flip(3), "its file state was altered"},
		"state cut":          {stateFile, func(p string) error { return os.Truncate(p, 1) }, "has 1 bytes"},
		"disk altered":       {DiskFile, flip(0), "disk.img was altered"},
		"disk gone":          {DiskFile, os.Remove, "disk.img is missing"},
		"another version":    {manifestFile, edit(`"version":1`, `"version":2`), "written in version 2"},
		"another kernel":     {manifestFile, edit(`sha256:1`, `sha256:2`), "that of another template"},
		"another size":       {manifestFile, edit(`"size":8388608`, `"size":8388609`), "has a memory of 8388609"},
		"manifest cut":       {manifestFile, cut, "cannot be read"},
		"manifest gone":      {manifestFile, os.Remove, "has no template.json"},
		"manifest of a file": {manifestFile, func(p string) error { return os.WriteFile(p, []byte("[]"), 0o600) }, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			d := save(t, s, shape(1), "first")
			if err := c.do(filepath.Join(s.path(d), c.file)); err != nil {
				t.Fatal(err)
			}
			_, err := s.Use(t.Context(), d)
			var damaged *DamagedError
			if !errors.As(err, &damaged) || damaged.Digest != d || !strings.Contains(damaged.Reason, c.reason) {
				t.Errorf("using it: %v", err)
			}
			nothingElse(t, s)
			save(t, s, shape(1), "again")
			holds(t, s, d, "again")
		})
	}
}

func TestWhatWouldNotLoadIsNotSaved(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for name, edit := range map[string]func(*Made){
		"memory of another size": func(m *Made) { m.Memory = fileOf(t, "x", 4096) },
		"no state":               func(m *Made) { m.State = fileOf(t, "x", 0) },
		"disk of another size":   func(m *Made) { m.Shape.Disk = 1 },
	} {
		stage, err := s.Stage()
		if err != nil {
			t.Fatal(err)
		}
		fileAt(t, stage.Disk(), "x", 1<<20)
		m := Made{Shape: shape(1), Memory: fileOf(t, "x", memorySize), State: fileOf(t, "x", 100)}
		edit(&m)
		if _, err := stage.Save(t.Context(), m); err == nil {
			t.Errorf("%s: it was saved", name)
		}
	}
	nothingElse(t, s)
}

func TestSparseDigestIgnoresHoles(t *testing.T) {
	t.Parallel()
	const size = 3<<20 + 123
	sparse := fileOf(t, "text", size)
	data, err := io.ReadAll(sparse)
	if err != nil {
		t.Fatal(err)
	}
	full, err := os.Create(filepath.Join(t.TempDir(), "full"))
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if _, err := full.Write(data); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	a, err := copySparse(t.Context(), out, full)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{sparse, out} {
		if d, err := copySparse(t.Context(), nil, f); err != nil || d != a {
			t.Errorf("%s, %v, want %s", d, err, a)
		}
	}
	got, err := os.ReadFile(out.Name())
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("the copy differs, %v", err)
	}
	if _, err := full.WriteAt([]byte{1}, size-1); err != nil {
		t.Fatal(err)
	}
	if d, err := copySparse(t.Context(), nil, full); err != nil || d == a {
		t.Errorf("the last byte does not count, %v", err)
	}
	longer := fileOf(t, "text", size)
	if err := longer.Truncate(size + 1); err != nil {
		t.Fatal(err)
	}
	if d, err := copySparse(t.Context(), nil, longer); err != nil || d == a {
		t.Errorf("the size does not count, %v", err)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"version":1,"shape":{"memory":1,"cpus":1,"disk":1},"memory":{"size":1},"state":{"size":1},"disk":{"size":1}}`))
	f.Add([]byte(`{}`))
	d := shape(1).Digest()
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data, d)
		if err == nil && (m.Shape.Digest() != d || m.Memory.Size <= 0 || m.State.Size > maxState) {
			t.Errorf("%q gives %+v", data, m)
		}
	})
}
