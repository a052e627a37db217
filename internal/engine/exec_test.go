package engine

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"bothy/internal/engineapi"
)

func (r *rig) exec(req container.ExecCreateRequest) string {
	r.t.Helper()
	id, err := r.CreateExec(r.t.Context(), "web", req)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *rig) inspectExec(id string) *container.ExecInspectResponse {
	r.t.Helper()
	resp, err := r.InspectExec(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp
}

// joined starts an execution with a client, and gives the client's end, the
// shim's view of the process and a channel with StartExec's result.
func (r *rig) joined(id string, tty bool) (client interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
}, process *fakeExec, result chan error) {
	r.t.Helper()
	ours, open := execClient(r.t)
	result = make(chan error, 1)
	go func() { result <- r.StartExec(r.t.Context(), id, engineapi.ExecStart{TTY: tty, Open: open}) }()
	e, err := r.Containers.execs.find(id)
	if err != nil {
		r.t.Fatal(err)
	}
	<-e.started
	return ours, r.shim("web").exec(id), result
}

func TestExecFromCreationToItsEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	shim := r.start("web")
	_, live, err := r.Subscribe(t.Context(), time.Time{}, time.Time{}, engineapi.Filters{"type": {"container": true}})
	if err != nil {
		t.Fatal(err)
	}
	id := r.exec(container.ExecCreateRequest{Cmd: []string{"ls", "-l"}, AttachStdin: true, AttachStdout: true, User: "app", WorkingDir: "/srv", Env: []string{"B=2"}})
	if resp := r.inspectExec(id); resp.Running || resp.ExitCode != nil || resp.ProcessConfig.Entrypoint != "ls" || !slices.Equal(resp.ProcessConfig.Arguments, []string{"-l"}) {
		t.Errorf("before the start: %+v", resp)
	}
	client, process, result := r.joined(id, false)
	if p := process.process; p.User.Username != "app" || p.Cwd != "/srv" || !slices.Contains(p.Env, "A=1") || !slices.Contains(p.Env, "B=2") {
		t.Errorf("the process: %+v", p)
	}
	if q := process.req; q.Stdin == "" || q.Stdout == "" || q.Stderr != "" || q.Terminal {
		t.Errorf("its streams: %+v", q)
	}
	if resp := r.inspectExec(id); !resp.Running || resp.Pid != 8 || resp.ExitCode != nil {
		t.Errorf("while it runs: %+v", resp)
	}
	if c, _ := r.InspectContainer(t.Context(), "web", false); !slices.Equal(c.ExecIDs, []string{id}) {
		t.Errorf("the container's executions: %v", c.ExecIDs)
	}
	if _, err := client.Write([]byte("in")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2)
	if _, err := process.conn.Read(buf); err != nil || string(buf) != "in" {
		t.Errorf("the process read %q, %v", buf, err)
	}
	go func() {
		_, _ = process.conn.Write(frame("stdout", []byte("out")))
		process.end(3)
	}()
	if got := readAll(client); got != string(frame("stdout", []byte("out"))) {
		t.Errorf("the client read %q", got)
	}
	if resp := r.inspectExec(id); resp.Running || resp.ExitCode == nil || *resp.ExitCode != 3 || resp.Pid != 0 {
		t.Errorf("when the client's output has ended: %+v", resp)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
	var seen []string
	for range 3 {
		m := <-live
		if m.Actor.Attributes["execID"] != id {
			t.Errorf("event %s: %v", m.Action, m.Actor.Attributes)
		}
		seen = append(seen, string(m.Action))
	}
	if want := []string{"exec_create: ls -l", "exec_start: ls -l", string(events.ActionExecDie)}; !slices.Equal(seen, want) {
		t.Errorf("events %q, want %q", seen, want)
	}
	if err := r.StartExec(t.Context(), id, engineapi.ExecStart{}); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "has already run") {
		t.Errorf("a second start: %v", err)
	}
	r.crash() // waits until the shim was told to forget it
	if n := shim.execCount(); n != 0 {
		t.Errorf("the shim keeps %d processes", n)
	}
	r.open()
}

func TestExecThatCannotBeStarted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	r.start("web")
	for _, c := range []struct {
		req  container.ExecCreateRequest
		code int
		text string
	}{
		{container.ExecCreateRequest{Cmd: []string{"nonsense"}}, 127, `OCI runtime exec failed: exec failed: unable to start container process: exec: "nonsense": executable file not found in $PATH`},
		{container.ExecCreateRequest{Cmd: []string{"ls"}, User: "nobodyx"}, 126, "unable to find user nobodyx"},
	} {
		id := r.exec(c.req)
		ours, open := execClient(t)
		result := make(chan error, 1)
		go func() { result <- r.StartExec(t.Context(), id, engineapi.ExecStart{TTY: true, Open: open}) }()
		if got := readAll(ours); !strings.Contains(got, c.text) || strings.Contains(got, "process x") {
			t.Errorf("the client read %q, want %q", got, c.text)
		}
		<-result
		if resp := r.inspectExec(id); resp.ExitCode == nil || *resp.ExitCode != c.code {
			t.Errorf("exit code %v, want %d", resp.ExitCode, c.code)
		}
		id = r.exec(c.req)
		if err := r.StartExec(t.Context(), id, engineapi.ExecStart{Detach: true}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("detached: %v", err)
		}
	}
	if n := r.shim("web").execCount(); n != 0 {
		t.Errorf("the shim keeps %d processes", n)
	}
}

func TestExecIsRefusedUnlessTheContainerRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	req := container.ExecCreateRequest{Cmd: []string{"ls"}}
	if _, err := r.CreateExec(t.Context(), "web", req); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "is not running") {
		t.Errorf("in a created one: %v", err)
	}
	shim := r.start("web")
	if _, err := r.CreateExec(t.Context(), "web", container.ExecCreateRequest{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("without a command: %v", err)
	}
	id := r.exec(req)
	_, process, result := r.joined(id, false)
	shim.end(0)
	r.await("web", container.WaitConditionNotRunning)
	process.end(137)
	<-result
	if _, err := r.CreateExec(t.Context(), "web", req); !errdefs.IsConflict(err) {
		t.Errorf("in a stopped one: %v", err)
	}
	if resp := r.inspectExec(id); *resp.ExitCode != 137 {
		t.Errorf("the process that ended with its container: %+v", resp)
	}
	if err := r.RemoveContainer(t.Context(), "web", false, false); err != nil {
		t.Fatal(err)
	}
	if _, err := r.InspectExec(t.Context(), id); !errdefs.IsNotFound(err) {
		t.Errorf("after the container: %v", err)
	}
}

func TestExecWithATerminal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	r.start("web")
	id := r.exec(container.ExecCreateRequest{Cmd: []string{"sh"}, Tty: true, AttachStdin: true, AttachStdout: true, DetachKeys: "x"})
	client, process, result := r.joined(id, true)
	if err := r.ResizeExec(t.Context(), id, 24, 80); err != nil || process.size != [2]uint32{24, 80} {
		t.Errorf("size %v, %v", process.size, err)
	}
	go func() { _, _ = client.Write([]byte("x")) }()
	if err := <-result; err != nil {
		t.Error(err)
	}
	if !r.inspectExec(id).Running {
		t.Error("the process ended when its client detached")
	}
	process.end(0)
}

// A client takes the output in the form that it asks for when it starts.
func TestExecOutputInTheOtherForm(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	r.start("web")
	for _, tty := range []bool{true, false} {
		id := r.exec(container.ExecCreateRequest{Cmd: []string{"ls"}, Tty: tty, AttachStdout: true})
		client, process, result := r.joined(id, !tty)
		raw, framed := "out", string(frame("stdout", []byte("out")))
		sent, want := framed, raw
		if tty {
			sent, want = raw, framed
		}
		go func() {
			_, _ = process.conn.Write([]byte(sent))
			process.end(0)
		}()
		if got := readAll(client); got != want {
			t.Errorf("terminal %v: the client read %q, want %q", tty, got, want)
		}
		<-result
	}
}

func TestExecOutlivesTheEngine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.create("web", container.HostConfig{})
	shim := r.start("web")
	start := func() string {
		id := r.exec(container.ExecCreateRequest{Cmd: []string{"ls", "-l"}, User: "app"})
		if err := r.StartExec(t.Context(), id, engineapi.ExecStart{Detach: true}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	prepared, live, ended, lost := r.exec(container.ExecCreateRequest{Cmd: []string{"ls"}}), start(), start(), start()
	r.crash()
	shim.exec(ended).end(4)
	shim.mu.Lock()
	delete(shim.execs, lost)
	shim.mu.Unlock()
	r.open()
	if resp := r.inspectExec(live); !resp.Running || resp.Pid != 8 || resp.ProcessConfig.User != "app" || len(resp.ProcessConfig.Arguments) != 1 {
		t.Errorf("one that runs: %+v", resp)
	}
	e, err := r.Containers.execs.find(ended)
	if err != nil {
		t.Fatal(err)
	}
	<-e.done
	if resp := r.inspectExec(ended); resp.Running || *resp.ExitCode != 4 {
		t.Errorf("one that ended meanwhile: %+v", resp)
	}
	for _, id := range []string{prepared, lost} {
		if _, err := r.InspectExec(t.Context(), id); !errdefs.IsNotFound(err) {
			t.Errorf("one that is nowhere: %v", err)
		}
	}
	if e, err = r.Containers.execs.find(live); err != nil {
		t.Fatal(err)
	}
	shim.exec(live).end(0)
	<-e.done
	r.crash() // waits for what is behind the end
	if left, _ := filepath.Glob(filepath.Join(r.starter.bundle(id), execsDir, "*")); len(left) != 0 {
		t.Errorf("left on record: %v", left)
	}
	r.open()
}

// A connection that breaks is no end of what runs over it.
func TestExecOutlivesItsConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.create("web", container.HostConfig{})
	shim := r.start("web")
	shim.mu.Lock()
	shim.execBreaks = 2
	shim.mu.Unlock()
	id := r.exec(container.ExecCreateRequest{Cmd: []string{"ls"}})
	if err := r.StartExec(t.Context(), id, engineapi.ExecStart{Detach: true}); err != nil {
		t.Fatal(err)
	}
	if err := r.PauseContainer(t.Context(), "web"); err != nil { // one that is paused runs
		t.Fatal(err)
	}
	e, err := r.Containers.execs.find(id)
	if err != nil {
		t.Fatal(err)
	}
	shim.exec(id).end(6)
	<-e.done
	if resp := r.inspectExec(id); *resp.ExitCode != 6 {
		t.Errorf("exit code %d", *resp.ExitCode)
	}
}

func TestRegistryForgetsOldExecutions(t *testing.T) {
	t.Parallel()
	x := newExecRegistry()
	c := &ctr{id: "c"}
	add := func(id string, endedAgo time.Duration) {
		e := newExecution(id, c, container.ExecCreateRequest{Cmd: []string{"ls"}}, nil)
		if endedAgo > 0 {
			e.state, e.endedAt = execEnded, time.Now().Add(-endedAgo)
		}
		x.add(e)
	}
	add("old", execKept+time.Minute)
	add("recent", time.Minute)
	add("live", 0)
	for i := range execsKept + 3*execSlack {
		add(string(rune('a'+i%26))+strings.Repeat("x", i), time.Second)
	}
	if _, err := x.find("old"); err == nil {
		t.Error("an old one is there still")
	}
	if _, err := x.find("live"); err != nil {
		t.Errorf("one that has not ended: %v", err)
	}
	if n := len(x.all); n > execsKept+execSlack+1 {
		t.Errorf("%d are kept", n)
	}
}
