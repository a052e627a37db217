package engine

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"bothy/internal/engineapi"
)

// startSlowly begins the start of a container and returns when it has reached
// its last step; finish lets it go on and waits for it.
func (r *rig) startSlowly(ref string) (finish func()) {
	r.t.Helper()
	steps := make(chan struct{})
	r.shims.starting = steps
	started := make(chan error, 1)
	go func() { started <- r.StartContainer(r.t.Context(), ref) }()
	<-steps
	return func() {
		r.t.Helper()
		<-steps
		if err := <-started; err != nil {
			r.t.Error(err)
		}
	}
}

func TestWhatComesDuringAStartIsAboutItsContainer(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(r *rig) error{
		"stop":    func(r *rig) error { return r.StopContainer(r.t.Context(), "web", "", nil) },
		"kill":    func(r *rig) error { return r.KillContainer(r.t.Context(), "web", "") },
		"removal": func(r *rig) error { return r.RemoveContainer(r.t.Context(), "web", true, false) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.create("web", container.HostConfig{})
			finish := r.startSlowly("web")
			done := make(chan error, 1)
			go func() { done <- do(r) }()
			finish()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if resp, err := r.InspectContainer(t.Context(), "web", false); err == nil && resp.State.Running {
				t.Error("it still runs")
			}
		})
	}
}

func TestWaitDuringAStartIsForItsEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	finish := r.startSlowly("web")
	answers := make(chan (<-chan container.WaitResponse), 1)
	go func() {
		ch, err := r.WaitContainer(t.Context(), "web", "")
		if err != nil {
			t.Error(err)
		}
		answers <- ch
	}()
	finish()
	answer := <-answers
	r.shim("web").end(9)
	if resp := <-answer; resp.StatusCode != 9 {
		t.Errorf("waited: %+v", resp)
	}
}

func TestAttachDuringAStartIsConnected(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	finish := r.startSlowly("web")
	_, server := socketPair(t)
	opened, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- r.AttachContainer(t.Context(), "web", engineapi.AttachRequest{Stdout: true, Stream: true, Open: func(bool) (engineapi.Conn, error) {
			close(opened)
			return server, nil
		}})
	}()
	<-opened
	finish()
	shim := r.shim("web")
	shim.mu.Lock()
	n := len(shim.conns)
	shim.mu.Unlock()
	if n != 1 {
		t.Errorf("%d clients, want 1", n)
	}
	shim.end(0)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAttachEndsWithItsClient(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before the start", "after the start"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.create("web", container.HostConfig{})
			if when == "after the start" {
				r.start("web")
			}
			client, server := socketPair(t)
			ctx, gone := context.WithCancel(t.Context())
			opened, done := make(chan struct{}), make(chan error, 1)
			go func() {
				done <- r.AttachContainer(ctx, "web", engineapi.AttachRequest{Stdout: true, Stream: true, Open: func(bool) (engineapi.Conn, error) {
					close(opened)
					return server, nil
				}})
			}()
			<-opened
			_ = client.Close()
			gone()
			<-done
		})
	}
}

func TestStopOutlivesItsClient(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	shim := r.start("web")
	shim.ignore = 15
	ctx, gone := context.WithCancel(t.Context())
	gone()
	if err := r.StopContainer(ctx, "web", "", new(int)); err != nil {
		t.Error(err)
	}
	if st := r.state("web"); st.Running {
		t.Errorf("after the stop: %+v", st)
	}
}

func TestNewEngineDoesNotEndARunTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.create("web", container.HostConfig{})
	shim := r.start("web")
	r.crash()
	shim.end(6)
	exit, err := readExit(r.files.dir(id))
	if err != nil {
		t.Fatal(err)
	}
	before := status{State: container.StateExited, ExitCode: 6, StartedAt: time.Now().Add(-time.Hour).UTC(), FinishedAt: exit.ExitedAt}
	if err := r.files.saveStatus(id, before); err != nil {
		t.Fatal(err)
	}
	r.networks.attached = map[string]bool{}
	r.open()
	if st := r.state("web"); st.Status != "exited" || st.ExitCode != 6 || st.StartedAt != stamp(before.StartedAt) {
		t.Errorf("state %+v", st)
	}
	r.clean()
}

func TestNewEngineRemovesHalfAStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.create("web", container.HostConfig{AutoRemove: true})
	r.restart()
	if _, err := r.InspectContainer(t.Context(), id, false); !errdefs.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestLayersGoWithTheLastContainer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("one", container.HostConfig{})
	r.create("two", container.HostConfig{})
	must(t, r.RemoveContainer(t.Context(), "one", false, false))
	r.cleaning.Wait()
	if n := r.images.collected.Load(); n != 0 {
		t.Errorf("%d collections while the image is there", n)
	}
	r.images.removed.Store(true)
	must(t, r.RemoveContainer(t.Context(), "two", false, false))
	r.cleaning.Wait()
	if n := r.images.collected.Load(); n != 1 {
		t.Errorf("%d collections after its last container went, want 1", n)
	}
}

func TestListedImageNamesItsContainers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.create("web", container.HostConfig{})
	list, err := r.ListImages(t.Context(), false, nil)
	if err != nil || len(list) != 1 || len(list[0].Manifests) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	m := list[0].Manifests[0]
	if m.Size.Content != 1000 || m.Size.Total != 1000 || len(m.ImageData.Containers) != 1 || m.ImageData.Containers[0] != id {
		t.Errorf("%+v", m)
	}
}

func TestNewEngineWaitsForAShimThatIsBusy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.create("web", container.HostConfig{})
	shim := r.start("web")
	shim.started, shim.busy = false, 3
	r.crash()
	must(t, r.files.saveStatus(id, status{State: container.StateCreated}))
	r.networks.attached = map[string]bool{}
	begin := time.Now()
	r.open()
	if took := time.Since(begin); took > shutdownTimeout/2 {
		t.Errorf("it took %s", took)
	}
	r.clean()
}

func TestEndIsFoundThoughTheClockWentBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.create("web", container.HostConfig{})
	shim := r.start("web")
	r.crash()
	shim.end(4)
	shim.vanish()
	must(t, r.files.saveStatus(id, status{State: container.StateRunning, StartedAt: time.Now().Add(time.Hour)}))
	r.networks.attached = map[string]bool{}
	r.open()
	if st := r.state("web"); st.ExitCode != 4 {
		t.Errorf("state %+v", st)
	}
}

func TestRestartsAtOnceKeepWhatIsToBeRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{AutoRemove: true})
	r.start("web")
	var each sync.WaitGroup
	for range 8 {
		each.Go(func() {
			if err := r.RestartContainer(t.Context(), "web", "", nil); err != nil {
				t.Error(err)
			}
		})
	}
	each.Wait()
	if st := r.state("web"); !st.Running {
		t.Errorf("state %+v", st)
	}
}
