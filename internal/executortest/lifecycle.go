package executortest

import (
	"context"
	"fmt"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	apitask "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/anypb"
)

var lifecycleCases = map[string]func(*testing.T, *env){
	"Kill":            testKill,
	"KillAll":         testKillAll,
	"WaitTwice":       testWaitTwice,
	"PauseResume":     testPauseResume,
	"KillPaused":      testKillPaused,
	"DeleteCleansUp":  testDeleteCleansUp,
	"FailureCleansUp": testFailureCleansUp,
	"EveryMove":       testEveryMove,
}

func (k *task) status(execID string) apitask.Status {
	k.t.Helper()
	r, err := k.Service().State(k.ctx, &taskapi.StateRequest{ID: k.id, ExecID: execID})
	if err != nil {
		k.t.Fatalf("State: %v", err)
	}
	return r.Status
}

func (k *task) pause() {
	k.t.Helper()
	if _, err := k.Service().Pause(k.ctx, &taskapi.PauseRequest{ID: k.id}); err != nil {
		k.t.Fatalf("Pause: %v", err)
	}
}

func testKill(t *testing.T, e *env) {
	k := e.run(script("trap 'exit 5' TERM; echo ready; while :; do sleep 1; done"))
	k.out.expect(t, "ready")
	k.kill(15)
	if got := k.wait(); got != 5 {
		t.Errorf("exit status %d, want 5", got)
	}
	_, err := k.Service().Kill(k.ctx, &taskapi.KillRequest{ID: k.id, Signal: 15})
	wantError(t, err, errdefs.ErrNotFound, "process already finished")
}

func testKillAll(t *testing.T, e *env) {
	k := e.run(script("trap : TERM; sh -c 'trap \"exit 6\" TERM; echo ready; while :; do sleep 1; done'; echo child $?; exit 2"))
	k.out.expect(t, "ready")
	if _, err := k.Service().Kill(k.ctx, &taskapi.KillRequest{ID: k.id, Signal: 15, All: true}); err != nil {
		t.Fatal("Kill:", err)
	}
	if got := k.wait(); got != 2 {
		t.Errorf("exit status %d, want 2", got)
	}
	k.out.expect(t, "child 6\n")
}

func testWaitTwice(t *testing.T, e *env) {
	k := e.create(script("exit 11"))
	results := make(chan string, 3)
	for range cap(results) {
		go func() {
			r, err := k.Service().Wait(k.ctx, &taskapi.WaitRequest{ID: k.id})
			results <- fmt.Sprint(r.GetExitStatus(), err, r.GetExitedAt() != nil)
		}()
	}
	k.start()
	for range cap(results) {
		if got := <-results; got != "11 <nil> true" {
			t.Errorf("Wait: %s", got)
		}
	}
	s, err := k.Service().State(k.ctx, &taskapi.StateRequest{ID: k.id})
	if err != nil || s.Status != apitask.Status_STOPPED || s.ExitStatus != 11 {
		t.Errorf("State after the exit: %v, %v", s, err)
	}
}

func testPauseResume(t *testing.T, e *env) {
	k := e.run(command("cat"))
	fmt.Fprint(k.stdio.In, "one\n")
	k.out.expect(t, "one\n")
	k.pause()
	if got := k.status(""); got != apitask.Status_PAUSED {
		t.Errorf("state %v, want paused", got)
	}
	fmt.Fprint(k.stdio.In, "two\n")
	if _, err := k.Service().Resume(k.ctx, &taskapi.ResumeRequest{ID: k.id}); err != nil {
		t.Fatal("Resume:", err)
	}
	k.out.expect(t, "one\ntwo\n")
	if got := k.status(""); got != apitask.Status_RUNNING {
		t.Errorf("state %v, want running", got)
	}
}

func testKillPaused(t *testing.T, e *env) {
	k := e.run(command("sleep", "1000"))
	k.pause()
	k.kill(9)
	if got := k.wait(); got != 137 {
		t.Errorf("exit status %d, want 137", got)
	}
	k.delete()
}

func testDeleteCleansUp(t *testing.T, e *env) {
	for _, start := range []bool{true, false} {
		k := e.create(script("exit 3"))
		if start {
			k.start()
			k.wait()
		}
		d, err := k.Service().Delete(k.ctx, &taskapi.DeleteRequest{ID: k.id})
		if err != nil {
			t.Fatal("Delete:", err)
		}
		if start && d.ExitStatus != 3 {
			t.Errorf("Delete gave exit status %d, want 3", d.ExitStatus)
		}
		if left := k.Leftovers(t, k.id); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

func testFailureCleansUp(t *testing.T, e *env) {
	k, err := e.tryCreate(command("no-such-command"))
	wantError(t, err, errdefs.ErrInvalidArgument, "not found")
	if left := k.Leftovers(t, k.id); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	_, err = e.Service().State(e.ctx, &taskapi.StateRequest{ID: k.id})
	wantError(t, err, errdefs.ErrNotFound, k.id)
}

// move is an operation on a container and the states it must be refused in,
// with the kind of the error.
type move struct {
	name    string
	ask     func(context.Context, taskapi.TTRPCTaskService, string) error
	refused map[string]error
}

// moves are tried in every state; only what is refused is asked for, so that
// the state stays.
var moves = []move{
	{"start", func(ctx context.Context, s taskapi.TTRPCTaskService, id string) error {
		_, err := s.Start(ctx, &taskapi.StartRequest{ID: id})
		return err
	}, refuse("running", "paused", "stopped")},
	{"exec", func(ctx context.Context, s taskapi.TTRPCTaskService, id string) error {
		_, err := s.Exec(ctx, &taskapi.ExecProcessRequest{ID: id, ExecID: "x", Spec: &anypb.Any{Value: []byte(`{"args":["true"],"cwd":"/"}`)}})
		return err
	}, refuse("created", "paused", "stopped")},
	{"kill", func(ctx context.Context, s taskapi.TTRPCTaskService, id string) error {
		_, err := s.Kill(ctx, &taskapi.KillRequest{ID: id, Signal: 9})
		return err
	}, map[string]error{"stopped": errdefs.ErrNotFound, "deleted": errdefs.ErrNotFound}},
	{"pause", func(ctx context.Context, s taskapi.TTRPCTaskService, id string) error {
		_, err := s.Pause(ctx, &taskapi.PauseRequest{ID: id})
		return err
	}, refuse("created", "paused", "stopped")},
	{"resume", func(ctx context.Context, s taskapi.TTRPCTaskService, id string) error {
		_, err := s.Resume(ctx, &taskapi.ResumeRequest{ID: id})
		return err
	}, refuse("created", "running", "stopped")},
	{"update", func(ctx context.Context, s taskapi.TTRPCTaskService, id string) error {
		_, err := s.Update(ctx, &taskapi.UpdateTaskRequest{ID: id, Resources: &anypb.Any{Value: []byte("{}")}})
		return err
	}, refuse("stopped")},
	{"resize", func(ctx context.Context, s taskapi.TTRPCTaskService, id string) error {
		_, err := s.ResizePty(ctx, &taskapi.ResizePtyRequest{ID: id, Width: 80, Height: 24})
		return err
	}, refuse("stopped")},
	{"delete", func(ctx context.Context, s taskapi.TTRPCTaskService, id string) error {
		_, err := s.Delete(ctx, &taskapi.DeleteRequest{ID: id})
		return err
	}, refuse("running", "paused")},
	{"stats", func(ctx context.Context, s taskapi.TTRPCTaskService, id string) error {
		_, err := s.Stats(ctx, &taskapi.StatsRequest{ID: id})
		return err
	}, refuse()},
	{"pids", func(ctx context.Context, s taskapi.TTRPCTaskService, id string) error {
		_, err := s.Pids(ctx, &taskapi.PidsRequest{ID: id})
		return err
	}, refuse()},
	{"wait", func(ctx context.Context, s taskapi.TTRPCTaskService, id string) error {
		_, err := s.Wait(ctx, &taskapi.WaitRequest{ID: id})
		return err
	}, refuse()},
}

// refuse says that the states, and of course deleted, don't allow something.
func refuse(states ...string) map[string]error {
	r := map[string]error{"deleted": errdefs.ErrNotFound}
	for _, s := range states {
		r[s] = errdefs.ErrFailedPrecondition
	}
	return r
}

// testEveryMove walks a container through its states and asks in each for all
// that isn't allowed there.
func testEveryMove(t *testing.T, e *env) {
	k := e.create(command("sleep", "1000"), terminal)
	steps := []struct {
		state  string
		status apitask.Status
		enter  func()
	}{
		{"created", apitask.Status_CREATED, func() {}},
		{"running", apitask.Status_RUNNING, k.start},
		{"paused", apitask.Status_PAUSED, k.pause},
		{"stopped", apitask.Status_STOPPED, func() { k.kill(9); k.wait() }},
		{"deleted", apitask.Status_UNKNOWN, k.delete},
	}
	for _, step := range steps {
		step.enter()
		for _, m := range moves {
			kind, refused := m.refused[step.state]
			if !refused {
				continue
			}
			err := m.ask(k.ctx, k.Service(), k.id)
			if err == nil {
				t.Fatalf("%s of a %s container was allowed", m.name, step.state)
			}
			wantError(t, err, kind, "")
		}
		if step.state == "deleted" {
			continue
		}
		if got := k.status(""); got != step.status {
			t.Fatalf("the container is %v, want %s", got, step.state)
		}
	}
}
