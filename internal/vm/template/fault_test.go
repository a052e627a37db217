package template

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// steps are those of saving, in order.
var steps = []string{"memory", "state", "disk", "manifest", "sync stage", "replace", "rename", "sync store"}

// The variables by which a test tells a process that it starts what to do.
const (
	crashDir  = "BOTHY_TEST_CRASH_DIR"
	crashStep = "BOTHY_TEST_CRASH_STEP"
)

// TestCrashHelper is the process that is killed.
func TestCrashHelper(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("only as a process of TestCrash")
	}
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.step = func(name string) {
		if name == os.Getenv(crashStep) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	save(t, s, shape(1), "other")
}

func TestCrash(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{false, true} {
		for _, step := range steps {
			t.Run(step, func(t *testing.T) {
				t.Parallel()
				s := newStore(t)
				d := shape(1).Digest()
				if before {
					save(t, s, shape(1), "first")
				}
				cmd := exec.Command(os.Args[0], "-test.run=^TestCrashHelper$")
				cmd.Env = append(os.Environ(), crashDir+"="+s.dir, crashStep+"="+step)
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("it was not killed: %v: %s", err, out)
				}
				s = openStoreIn(t, s.dir)
				switch i := slices.Index(steps, step); {
				case i > slices.Index(steps, "rename"):
					holds(t, s, d, "other")
				case before && i <= slices.Index(steps, "replace"):
					holds(t, s, d, "first")
				default:
					if _, err := s.Use(t.Context(), d); !errdefs.IsNotFound(err) {
						t.Errorf("using it: %v", err)
					}
					nothingElse(t, s)
					return
				}
				nothingElse(t, s, d)
			})
		}
	}
}

func TestEveryStepIsTold(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var told []string
	s.step = func(name string) { told = append(told, name) }
	save(t, s, shape(1), "first")
	if !slices.Equal(told, steps) {
		t.Errorf("steps %q, want %q", told, steps)
	}
}

func TestCancelledSaveLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"memory", "state", "disk"} {
		s := newStore(t)
		stage, err := s.Stage()
		if err != nil {
			t.Fatal(err)
		}
		fileAt(t, stage.Disk(), "x", 1<<20)
		ctx, cancel := context.WithCancel(t.Context())
		s.step = func(name string) {
			if name == step {
				cancel()
			}
		}
		m := Made{Shape: shape(1), Memory: fileOf(t, "x", memorySize), State: fileOf(t, "x", 100)}
		if _, err := stage.Save(ctx, m); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", step, err)
		}
		nothingElse(t, s)
	}
}

// TestFullDisk saves to a file system that has no room for it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting a file system takes root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := openStoreIn(t, filepath.Join(dir, "templates"))
	d := save(t, s, shape(1), "small")
	stage, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	fileAt(t, stage.Disk(), "", 1<<20)
	memory := fileOf(t, "", memorySize)
	data := make([]byte, 4<<20)
	for i := range data {
		data[i] = 1
	}
	if _, err := memory.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := stage.Save(t.Context(), Made{Shape: shape(2), Memory: memory, State: fileOf(t, "x", 100)}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("saving: %v", err)
	}
	nothingElse(t, s, d)
	holds(t, s, d, "small")
}

// aged makes templates whose last use was longer ago for later ones.
func aged(t *testing.T, s *Store, n int) []digest.Digest {
	t.Helper()
	var all []digest.Digest
	for i := range n {
		d := save(t, s, shape(i+1), "text")
		then := time.Now().Add(-time.Duration(i+1) * time.Hour)
		if err := os.Chtimes(filepath.Join(s.path(d), manifestFile), then, then); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

func TestMakeRoomDropsTheLeastRecentlyUsed(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	for name, c := range map[string]struct {
		free, total, each, need int64
		spare                   []int
		dropped                 []int
		full                    bool
	}{
		"plenty":              {free: 10 * gib, total: 20 * gib, need: gib},
		"two":                 {free: gib, total: 10 * gib, each: gib / 2, need: gib, dropped: []int{2, 1}},
		"5 %":                 {free: 4 * gib, total: 100 * gib, each: gib, dropped: []int{2}},
		"one is spared":       {free: gib / 2, total: 10 * gib, each: gib / 2, spare: []int{2}, dropped: []int{1}},
		"not even all do":     {free: 0, total: 10 * gib, each: 1, need: gib, dropped: []int{2, 1, 0}, full: true},
		"nothing but spared ": {free: 0, total: 10 * gib, spare: []int{0, 1, 2}, full: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			all := aged(t, s, 3)
			s.room = func() (int64, int64, error) {
				left, err := s.List()
				return c.free + int64(3-len(left))*c.each, c.total, err
			}
			pick := func(which []int) (ds []digest.Digest) {
				for _, i := range which {
					ds = append(ds, all[i])
				}
				return ds
			}
			dropped, err := s.MakeRoom(t.Context(), c.need, pick(c.spare)...)
			if errdefs.IsResourceExhausted(err) != c.full || !c.full && err != nil {
				t.Errorf("error %v", err)
			}
			if !slices.Equal(dropped, pick(c.dropped)) {
				t.Errorf("dropped %v, want %v", dropped, pick(c.dropped))
			}
		})
	}
}

func TestTooManyAreTrimmed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.keep = 2
	all := aged(t, s, 2)
	d := save(t, s, shape(9), "text")
	nothingElse(t, s, all[0], d)
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := shape(1).Digest()
	var each sync.WaitGroup
	for i := range 8 {
		each.Go(func() {
			for range 10 {
				switch {
				case i == 0:
					save(t, s, shape(1), "first")
				case i == 1:
					if _, err := s.Drop(d); err != nil && !errdefs.IsNotFound(err) {
						t.Error(err)
					}
				case i == 2:
					if err := s.Unload(time.Now().Add(time.Hour)); err != nil {
						t.Error(err)
					}
				default:
					useOrNone(t, s, d)
				}
			}
		})
	}
	each.Wait()
	save(t, s, shape(1), "first")
	holds(t, s, d, "first")
	nothingElse(t, s, d)
}

// useOrNone takes a template that may go at any time.
func useOrNone(t *testing.T, s *Store, d digest.Digest) {
	tmpl, err := s.Use(t.Context(), d)
	if errdefs.IsNotFound(err) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer tmpl.Close()
	got := make([]byte, 5)
	if _, err := tmpl.Memory.ReadAt(got, 0); err != nil || string(got) != "first" {
		t.Errorf("memory has %q, %v", got, err)
	}
}
