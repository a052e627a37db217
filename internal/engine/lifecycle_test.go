package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"bothy/internal/engineapi"
)

func TestRunFromCreateToRemoval(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.create("web", container.HostConfig{})
	if st := r.state("web"); st.Status != "created" || st.Pid != 0 {
		t.Errorf("after create: %+v", st)
	}
	shim := r.start("web")
	if st := r.state(id[:10]); st.Status != "running" || st.Pid != 7 || !st.Running {
		t.Errorf("after start: %+v", st)
	}
	if err := r.StartContainer(t.Context(), id); !errors.Is(err, errdefs.ErrNotModified) {
		t.Errorf("a second start: %v", err)
	}
	if err := r.RemoveContainer(t.Context(), "web", false, false); !errdefs.IsConflict(err) {
		t.Errorf("removing one that runs: %v", err)
	}
	go shim.end(3)
	if resp := r.await("web", container.WaitConditionNotRunning); resp.StatusCode != 3 {
		t.Errorf("waited: %+v", resp)
	}
	if st := r.state("web"); st.Status != "exited" || st.ExitCode != 3 || st.Pid != 0 {
		t.Errorf("after the end: %+v", st)
	}
	r.clean()
	if err := r.RemoveContainer(t.Context(), "web", false, false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.InspectContainer(t.Context(), id, false); !errdefs.IsNotFound(err) {
		t.Errorf("after removal: %v", err)
	}
	r.create("web", container.HostConfig{}) // the name is free
}

func TestEventsOfARun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, live, err := r.Subscribe(t.Context(), time.Time{}, time.Time{}, engineapi.Filters{"type": {"container": true, "network": true}})
	if err != nil {
		t.Fatal(err)
	}
	r.create("web", container.HostConfig{AutoRemove: true})
	shim := r.start("web")
	go shim.end(0)
	want := []string{"create", "connect", "start", "die", "disconnect", "destroy"}
	var got []string
	for range want {
		select {
		case m := <-live:
			got = append(got, string(m.Action))
		case <-time.After(10 * time.Second):
			t.Fatalf("only %v", got)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFailedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		step string
		code int
	}{{"network", exitUnknown}, {"spawn", exitUnknown}, {"create", exitUnknown}, {"start", exitNotFound}} {
		t.Run(tc.step, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.shims.fail = tc.step
			if tc.step == "network" {
				r.networks.fail = errors.New("no address is free")
			}
			r.create("web", container.HostConfig{})
			if err := r.StartContainer(t.Context(), "web"); err == nil {
				t.Fatal("it started")
			}
			r.clean()
			if st := r.state("web"); st.Status != "created" || st.ExitCode != tc.code || st.Error == "" {
				t.Errorf("state %+v, want created with code %d and an error", st, tc.code)
			}
			r.shims.fail, r.networks.fail = "", nil
			r.start("web")
			if st := r.state("web"); st.Status != "running" || st.Error != "" || st.ExitCode != 0 {
				t.Errorf("after a start that works: %+v", st)
			}
			if err := r.RemoveContainer(t.Context(), "web", true, false); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFailedStartRemovesWhatIsToBeRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.shims.fail = "start"
	r.create("web", container.HostConfig{AutoRemove: true})
	gone, err := r.WaitContainer(t.Context(), "web", container.WaitConditionRemoved)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.StartContainer(t.Context(), "web"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("start: %v", err)
	}
	if resp := <-gone; resp.StatusCode != exitNotFound || resp.Error != nil {
		t.Errorf("waited: %+v", resp)
	}
	r.clean()
}

func TestStopThenKill(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	shim := r.start("web")
	shim.ignore = 15
	now := 0
	if err := r.StopContainer(t.Context(), "web", "", &now); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(shim.signals, []uint32{15, 9}) {
		t.Errorf("signals %v", shim.signals)
	}
	if st := r.state("web"); st.ExitCode != 137 {
		t.Errorf("after stop: %+v", st)
	}
	if err := r.StopContainer(t.Context(), "web", "", nil); !errors.Is(err, errdefs.ErrNotModified) {
		t.Errorf("a second stop: %v", err)
	}
	if err := r.KillContainer(t.Context(), "web", ""); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "is not running") {
		t.Errorf("kill of one that ended: %v", err)
	}
	if err := r.KillContainer(t.Context(), "web", "NONSENSE"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("an unknown signal: %v", err)
	}
}

func TestRestartKeepsWhatIsToBeRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{AutoRemove: true})
	r.start("web")
	if err := r.RestartContainer(t.Context(), "web", "", nil); err != nil {
		t.Fatal(err)
	}
	if st := r.state("web"); st.Status != "running" {
		t.Errorf("after restart: %+v", st)
	}
}

func TestAttachBeforeStartSeesTheStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	client, server := socketPair(t)
	done := make(chan error, 1)
	opened := make(chan struct{})
	go func() {
		done <- r.AttachContainer(t.Context(), "web", engineapi.AttachRequest{Stdout: true, Stream: true, Open: func(bool) (engineapi.Conn, error) {
			close(opened)
			return server, nil
		}})
	}()
	<-opened
	shim := r.start("web")
	if len(shim.conns) != 1 {
		t.Fatalf("%d clients at the start, want 1", len(shim.conns))
	}
	if _, err := shim.conns[0].Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	if n, err := client.Read(buf); err != nil || string(buf[:n]) != "first" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	shim.end(0)
	_ = client.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNewEngineTakesUpWhatRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.create("web", container.HostConfig{})
	r.start("web")
	before := r.state("web")
	r.restart()
	if st := r.state("web"); st.Status != "running" || st.StartedAt != before.StartedAt {
		t.Errorf("before %+v, after %+v", before, st)
	}
	if len(r.networks.restored) != 1 || r.networks.restored[0].ContainerID != id || r.networks.restored[0].IPAddress.String() != "10.0.0.2" {
		t.Errorf("restored %+v", r.networks.restored)
	}
	go r.shim("web").end(5)
	if resp := r.await("web", ""); resp.StatusCode != 5 {
		t.Errorf("waited: %+v", resp)
	}
	r.clean()
}

func TestNewEngineFindsWhatEnded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		away func(*rig, *fakeShim)
		code int
	}{
		{"seen by its shim", func(_ *rig, s *fakeShim) { s.end(4) }, 4},
		{"with its shim, after a record", func(_ *rig, s *fakeShim) { s.end(4); s.vanish() }, 4},
		{"with its shim", func(_ *rig, s *fakeShim) { s.vanish() }, exitLost},
		{"with the machine", func(r *rig, s *fakeShim) { s.vanish(); _ = os.RemoveAll(r.opts.ExecRoot) }, exitLost},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.create("web", container.HostConfig{})
			shim := r.start("web")
			r.crash()
			tc.away(r, shim)
			r.networks.attached = map[string]bool{}
			r.open()
			if resp := r.await("web", ""); int(resp.StatusCode) != tc.code {
				t.Errorf("waited: %+v, want %d", resp, tc.code)
			}
			r.clean()
			if err := r.StartContainer(t.Context(), "web"); err != nil {
				t.Errorf("starting it again: %v", err)
			}
		})
	}
}

func TestNewEngineClearsHalfAStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.create("web", container.HostConfig{})
	shim := r.start("web")
	shim.started = false // the crash came between create and start
	r.crash()
	if err := r.files.saveStatus(id, status{State: container.StateCreated}); err != nil {
		t.Fatal(err)
	}
	r.networks.attached = map[string]bool{}
	r.open()
	if st := r.state("web"); st.Status != "created" {
		t.Errorf("state %+v", st)
	}
	r.clean()
}

func TestNewEngineRemovesWhatIsToBeRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.create("web", container.HostConfig{AutoRemove: true})
	shim := r.start("web")
	r.crash()
	shim.end(0)
	shim.vanish()
	r.open()
	if _, err := r.InspectContainer(t.Context(), id, false); !errdefs.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestBundlesOfNobodyAreSwept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stray := filepath.Join(r.opts.ExecRoot, "c", strings.Repeat("a", 64))
	if err := os.MkdirAll(stray, 0o700); err != nil {
		t.Fatal(err)
	}
	r.restart()
	r.clean()
	if !slices.Contains(r.shims.swept, stray) {
		t.Error("what the stray shim left was not cleaned up")
	}
}

// TestRemovalIsAnsweredBeforeTheClearing has a bothyd end between the removal of
// a container and the end of its shim.
func TestRemovalIsAnsweredBeforeTheClearing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	r.shims.ending = release
	id := r.create("web", container.HostConfig{AutoRemove: true})
	shim := r.start("web")
	answer, err := r.WaitContainer(t.Context(), "web", container.WaitConditionRemoved)
	if err != nil {
		t.Fatal(err)
	}
	go shim.end(3)
	if resp := <-answer; resp.StatusCode != 3 {
		t.Errorf("waited: %+v", resp)
	}
	if r.shims.count() != 1 {
		t.Error("the answer came only after the shim's end")
	}
	r.create("web", container.HostConfig{}) // the name is free

	old := r.Engine
	r.open() // as after a kill -9: the old one has done nothing more
	r.clean()
	if _, err := r.InspectContainer(t.Context(), id, false); !errdefs.IsNotFound(err) {
		t.Errorf("it is back: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(r.opts.DataRoot, removedDir)); len(left) > 0 {
		t.Errorf("its data is left: %v", left)
	}
	close(release)
	old.stop()
}

func TestShimThatVanishes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	shim := r.start("web")
	go shim.vanish()
	resp := r.await("web", "")
	if resp.StatusCode != exitLost || resp.Error == nil {
		t.Errorf("waited: %+v", resp)
	}
	r.clean()
}

func TestBrokenConnectionIsNoEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.shims.breaks = redials
	r.create("web", container.HostConfig{})
	shim := r.start("web")
	if !r.state("web").Running {
		t.Error("it counts as ended")
	}
	go shim.end(6)
	if resp := r.await("web", ""); resp.StatusCode != 6 {
		t.Errorf("waited: %+v", resp)
	}
	r.clean()
}

func TestNameConflict(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.create("web", container.HostConfig{})
	_, err := r.CreateContainer(t.Context(), engineapi.CreateRequest{Name: "/web", Config: &container.Config{Image: "app:1"}})
	want := `Conflict. The container name "/web" is already in use by container "` + id + `". You have to remove (or rename) that container to be able to reuse that name.`
	if !errdefs.IsConflict(err) || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if err := r.RenameContainer(t.Context(), id, "db"); err != nil {
		t.Fatal(err)
	}
	r.create("web", container.HostConfig{})
	if err := r.RenameContainer(t.Context(), "web", "db"); !errdefs.IsConflict(err) {
		t.Errorf("renaming to a name in use: %v", err)
	}
	r.restart()
	if _, err := r.InspectContainer(t.Context(), "db", false); err != nil {
		t.Error(err)
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, tc := range map[string]struct {
		req  engineapi.CreateRequest
		kind func(error) bool
	}{
		"no config":     {engineapi.CreateRequest{}, errdefs.IsInvalidArgument},
		"no image":      {engineapi.CreateRequest{Config: &container.Config{Image: "nobody:1"}}, errdefs.IsNotFound},
		"bad name":      {engineapi.CreateRequest{Name: "a/b", Config: &container.Config{Image: "app:1"}}, errdefs.IsInvalidArgument},
		"bad isolation": {engineapi.CreateRequest{Config: &container.Config{Image: "app:1"}, HostConfig: &container.HostConfig{Isolation: "jail"}}, errdefs.IsInvalidArgument},
		"bad signal":    {engineapi.CreateRequest{Config: &container.Config{Image: "app:1", StopSignal: "SIGNONE"}}, errdefs.IsInvalidArgument},
	} {
		if _, err := r.CreateContainer(t.Context(), tc.req); !tc.kind(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(r.opts.DataRoot, containersDir)); len(left) > 0 {
		t.Errorf("refused creations left %v", left)
	}
}

func TestWaitEndsWithItsClient(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	ch, err := r.WaitContainer(ctx, "web", container.WaitConditionNextExit)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, ok := <-ch; ok {
		t.Error("an answer without an end")
	}
	c, err := r.index.find("web")
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiters) > 0 {
		t.Error("the waiter is still there")
	}
}
