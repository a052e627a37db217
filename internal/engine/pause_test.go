package engine

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"google.golang.org/protobuf/types/known/emptypb"

	"bothy/internal/engineapi"
)

func (t fakeTask) Pause(context.Context, *taskAPI.PauseRequest) (*emptypb.Empty, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.frozen = true
	return &emptypb.Empty{}, nil
}

// Resume lets the signals that were sent meanwhile arrive.
func (t fakeTask) Resume(context.Context, *taskAPI.ResumeRequest) (*emptypb.Empty, error) {
	t.mu.Lock()
	t.frozen = false
	var last int
	for _, sig := range t.signals {
		if sig != t.ignore {
			last = int(sig)
		}
	}
	t.mu.Unlock()
	if last != 0 {
		t.end(128 + last)
	}
	return &emptypb.Empty{}, nil
}

func TestPauseAndUnpause(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	ctx := t.Context()
	if err := r.PauseContainer(ctx, "web"); !errdefs.IsConflict(err) {
		t.Errorf("one that does not run: %v", err)
	}
	shim := r.start("web")
	_, live, err := r.Subscribe(ctx, time.Time{}, time.Time{}, engineapi.Filters{"type": {"container": true}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.UnpauseContainer(ctx, "web"); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "is not paused") {
		t.Errorf("one that is not paused: %v", err)
	}
	if err := r.PauseContainer(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if st := r.state("web"); st.Status != "paused" || !st.Paused || !st.Running || !shim.frozen {
		t.Errorf("after the pause: %+v", st)
	}
	for what, err := range map[string]error{
		"a second pause": r.PauseContainer(ctx, "web"),
		"a start":        r.StartContainer(ctx, "web"),
		"a removal":      r.RemoveContainer(ctx, "web", false, false),
		"an exec": func() error {
			_, err := r.CreateExec(ctx, "web", container.ExecCreateRequest{Cmd: []string{"ls"}})
			return err
		}(),
	} {
		if !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "pause") {
			t.Errorf("%s of a paused one: %v", what, err)
		}
	}
	if err := r.UnpauseContainer(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if st := r.state("web"); st.Status != "running" || shim.frozen {
		t.Errorf("after the pause's end: %+v", st)
	}
	if seen := []string{string((<-live).Action), string((<-live).Action)}; !slices.Equal(seen, []string{"pause", "unpause"}) {
		t.Errorf("events %q", seen)
	}
}

// A paused container takes a stop, which lets it go on.
func TestStopKillAndRemovalOfAPausedContainer(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]struct {
		do   func(r *rig) error
		code int
	}{
		"stop": {func(r *rig) error { return r.StopContainer(r.t.Context(), "web", "", nil) }, 143},
		"kill": {func(r *rig) error { return r.KillContainer(r.t.Context(), "web", "") }, 137},
	} {
		r := newRig(t)
		r.create("web", container.HostConfig{})
		r.start("web")
		if err := r.PauseContainer(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
		if err := end.do(r); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if resp := r.await("web", container.WaitConditionNotRunning); resp.StatusCode != int64(end.code) {
			t.Errorf("%s: exit code %d, want %d", what, resp.StatusCode, end.code)
		}
	}
	r := newRig(t)
	r.create("web", container.HostConfig{})
	r.start("web")
	if err := r.PauseContainer(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveContainer(t.Context(), "web", true, false); err != nil {
		t.Errorf("removal by force: %v", err)
	}
	r.clean()
}

// The shim knows whether a container is paused, whatever was recorded.
func TestPauseOutlivesTheEngine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	shim := r.start("web")
	if err := r.PauseContainer(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	r.restart()
	if st := r.state("web"); !st.Paused {
		t.Errorf("after a restart: %+v", st)
	}
	r.crash()
	shim.frozen = false // a bothyd ended between the two
	r.open()
	if st := r.state("web"); st.Paused || !st.Running {
		t.Errorf("after a restart of one that goes on: %+v", st)
	}
}
