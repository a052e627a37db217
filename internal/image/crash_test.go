package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
)

// crashEnv makes the test program a loader: it loads an archive from its stdin
// into the store at that root, then removes it, then ends.
const crashEnv = "BOTHY_TEST_CRASH_ROOT"

func TestMain(m *testing.M) {
	if root := os.Getenv(crashEnv); root != "" {
		os.Exit(loadAndRemove(root))
	}
	os.Exit(m.Run())
}

func loadAndRemove(root string) int {
	ctx := context.Background()
	s, err := Open(ctx, Options{Root: root})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if _, err := s.Load(ctx, os.Stdin, LoadOptions{}); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("loaded")
	if _, err := s.Remove(ctx, "a:1", RemoveOptions{}); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// TestKilledWhileReading kills a loader after each of many prefixes of an
// archive, and once when it has just loaded it.
func TestKilledWhileReading(t *testing.T) {
	t.Parallel()
	base, top := tarOf(t, file("base", string(make([]byte, 400<<10)))), tarOf(t, file("top", "t"))
	archive := dockerArchive(t, []string{"a:1"}, configOf(t, base, top), base, top)
	for _, n := range []int{0, 600, 200 << 10, 401 << 10, len(archive) - 2000, len(archive)} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), crashEnv+"="+root)
			in := must(cmd.StdinPipe())(t)
			out := must(cmd.StdoutPipe())(t)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			must(in.Write(archive[:n]))(t) // the pipe is small: all but its last 64 KiB are read
			if n == len(archive) {
				if err := in.Close(); err != nil {
					t.Fatal(err)
				}
				must(io.ReadFull(out, make([]byte, len("loaded"))))(t)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // killed
			wholeOrNothing(t, root)
		})
	}
}

// wholeOrNothing opens a store after a crash: each image in it is whole, and
// when they are removed nothing is left.
func wholeOrNothing(t *testing.T, root string) {
	t.Helper()
	s := openStoreAt(t, root, Options{})
	for _, img := range must(s.List(t.Context()))(t) {
		for _, l := range img.Layers {
			if fi, err := os.Stat(l.File); err != nil || fi.Size() == 0 {
				t.Errorf("layer %s of %s: %v", l.ChainID, img.ID, err)
			}
		}
		must(s.readBlob(namespaces.WithNamespace(t.Context(), namespace), img.Target.Digest))(t)
		must(s.Remove(t.Context(), img.ID.String(), RemoveOptions{Force: true}))(t)
	}
	if err := s.Collect(t.Context()); err != nil {
		t.Error(err)
	}
	isEmpty(t, s)
}

// TestCrashAtEachStep copies a store's directory at each step of a load, the
// way a crash would leave it, and opens the copy.
func TestCrashAtEachStep(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := openStoreAt(t, root, Options{})
	base, top := tarOf(t, file("base", string(make([]byte, 400<<10)))), tarOf(t, file("top", "t"))
	archive := dockerArchive(t, []string{"a:1"}, configOf(t, base, top), base, top)
	n := 0
	snapshot := func() {
		n++
		copied := filepath.Join(t.TempDir(), "crashed")
		// The database is only ever read whole in a transaction of its own.
		if err := os.CopyFS(copied, os.DirFS(root)); err != nil {
			t.Error(err)
			return
		}
		wholeOrNothing(t, copied)
	}
	// Each step of a load is one of: reading a piece, asking for the users
	// (during a collection), reporting a layer.
	r := &stepReader{r: bytes.NewReader(archive), step: snapshot}
	if _, err := s.Load(t.Context(), r, LoadOptions{Progress: func(Progress) { snapshot() }}); err != nil {
		t.Fatal(err)
	}
	snapshot()
	s.SetUsers(func(context.Context) ([]digest.Digest, error) { snapshot(); return nil, nil })
	must(s.Remove(t.Context(), "a:1", RemoveOptions{}))(t)
	snapshot()
	if n < 6 {
		t.Errorf("only %d steps were seen", n)
	}
	isEmpty(t, s)
}

type stepReader struct {
	r    io.Reader
	step func()
}

func (s *stepReader) Read(p []byte) (int, error) {
	s.step()
	return s.r.Read(p[:min(len(p), 100<<10)])
}

// TestLeftOversAreSwept has what crashes at unlucky moments leave.
func TestLeftOversAreSwept(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := must(Open(t.Context(), Options{Root: root}))(t)
	ctx, o, err := s.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// A blob and a layer of an operation that never ended, a half-written
	// blob, a blob that is on no record, temporary files.
	body := []byte("blob")
	must(0, o.writeBlob(ctx, descriptorOf(body), body, nil))(t)
	w := must(s.content.Writer(ctx, contentRef("half")))(t)
	must(w.Write(body))(t)
	for _, p := range []string{
		s.layers.path(digest.FromString("layer")), filepath.Join(s.layers.tmp, "layer-1"),
		filepath.Join(root, "content/blobs/sha256", digest.FromString("stray").Encoded()),
	} {
		if err := os.WriteFile(p, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.bolt.Close(); err != nil {
		t.Fatal(err)
	}
	wholeOrNothing(t, root)
}

// TestOpenAfterACrashInTheMiddleOfABlob has what a kill leaves at the steps of
// beginning a blob in containerd's store.
func TestOpenAfterACrashInTheMiddleOfABlob(t *testing.T) {
	t.Parallel()
	for _, left := range [][]string{{}, {"ref"}, {"ref", "startedat.tmp"}, {"ref", "startedat"}, {"ref", "startedat", "updatedat"}, {"ref", "startedat", "data"}, {"data"}} {
		root := t.TempDir()
		dir := filepath.Join(root, "content", "ingest", "0123")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range left {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		isEmpty(t, openStoreAt(t, root, Options{}))
	}
}
