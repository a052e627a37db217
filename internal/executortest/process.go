package executortest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

var processCases = map[string]func(*testing.T, *env){
	"ExitCodes":      testExitCodes,
	"SignalStatus":   testSignalStatus,
	"User":           testUser,
	"UnknownUser":    testUnknownUser,
	"Workdir":        testWorkdir,
	"WorkdirIsFile":  testWorkdirIsFile,
	"Environment":    testEnvironment,
	"Hostname":       testHostname,
	"MissingCommand": testMissingCommand,
	"DeniedCommand":  testDeniedCommand,
	"BadRequests":    testBadRequests,
}

func testExitCodes(t *testing.T, e *env) {
	for _, want := range []int{0, 1, 42, 127, 255} {
		k := e.run(script(fmt.Sprint("exit ", want)))
		if got := k.wait(); got != want {
			t.Errorf("exit status %d, want %d", got, want)
		}
		k.delete()
	}
}

func testSignalStatus(t *testing.T, e *env) {
	k := e.run(script("sh -c 'kill -9 $$'; echo $?; exec sleep 1000"))
	k.out.expect(t, "137\n")
	k.kill(9)
	if got := k.wait(); got != 137 {
		t.Errorf("exit status %d, want 137", got)
	}
}

func testUser(t *testing.T, e *env) {
	groupAdd := map[string]string{"bothy.group-add": "video,1234"}
	for _, c := range []struct {
		user        string
		annotations map[string]string
		want        string
	}{
		{"", nil, "0:0:0:/root"},
		{"root", nil, "0:0:0:/root"},
		{"alice", nil, "1000:1000:1000 50:/home/alice"},
		{"1000", nil, "1000:1000:1000 50:/home/alice"},
		{"alice:video", nil, "1000:44:44:/home/alice"},
		{"4321:9", nil, "4321:9:9:/"},
		{"alice", groupAdd, "1000:1000:1000 50 44 1234:/home/alice"},
	} {
		got := e.output(script(`echo "$(id -u):$(id -g):$(id -G):$HOME"`), func(s *specs.Spec) {
			s.Process.User = specs.User{Username: c.user}
			s.Annotations = c.annotations
		})
		if sortGroups(got) != sortGroups(c.want) {
			t.Errorf("user %q: got %s, want %s", c.user, got, c.want)
		}
	}
}

func testUnknownUser(t *testing.T, e *env) {
	for user, want := range map[string]string{
		"foo":       "unable to find user foo: no matching entries in passwd file",
		"root:nope": "unable to find group nope: no matching entries in group file",
	} {
		_, err := e.tryCreate(func(s *specs.Spec) { s.Process.User = specs.User{Username: user} })
		wantError(t, err, errdefs.ErrInvalidArgument, want)
	}
}

func testWorkdir(t *testing.T, e *env) {
	got := e.output(command("pwd"), func(s *specs.Spec) { s.Process.Cwd = "/made/for/this" })
	if got != "/made/for/this" {
		t.Errorf("working directory %q", got)
	}
}

func testWorkdirIsFile(t *testing.T, e *env) {
	_, err := e.tryCreate(func(s *specs.Spec) { s.Process.Cwd = "/etc/passwd" })
	wantError(t, err, errdefs.ErrInvalidArgument, "not a directory")
	_, err = e.tryCreate(func(s *specs.Spec) { s.Process.Cwd = "relative" })
	wantError(t, err, errdefs.ErrInvalidArgument, "absolute path")
}

func testEnvironment(t *testing.T, e *env) {
	got := e.output(command("env"), func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "A=1 2", "HOME=/elsewhere") })
	for _, want := range []string{"A=1 2", "HOME=/elsewhere"} {
		if !strings.Contains(got+"\n", want+"\n") {
			t.Errorf("%s is missing in %q", want, got)
		}
	}
}

func testHostname(t *testing.T, e *env) {
	if got := e.output(command("hostname")); got != "case" {
		t.Errorf("host name %q", got)
	}
}

func testMissingCommand(t *testing.T, e *env) {
	_, err := e.tryCreate(command("no-such-command"))
	wantError(t, err, errdefs.ErrInvalidArgument, `"no-such-command": executable file not found in $PATH`)
	_, err = e.tryCreate(command("/no/such/command"))
	wantError(t, err, errdefs.ErrInvalidArgument, "no such file or directory")
}

func testDeniedCommand(t *testing.T, e *env) {
	_, err := e.tryCreate(command("/etc/passwd"))
	wantError(t, err, errdefs.ErrInvalidArgument, "permission denied")
	_, err = e.tryCreate(command("/etc"))
	wantError(t, err, errdefs.ErrInvalidArgument, "is a directory")
	_, err = e.tryCreate(command(""))
	wantError(t, err, errdefs.ErrInvalidArgument, "executable file not found in $PATH")
}

func testBadRequests(t *testing.T, e *env) {
	_, err := e.tryCreate(command())
	wantError(t, err, errdefs.ErrInvalidArgument, "no command")
	k := e.create()
	r := e.Prepare(t, k.id+"-again", DefaultSpec())
	r.ID = k.id
	_, err = e.Service().Create(e.ctx, r)
	wantError(t, err, errdefs.ErrAlreadyExists, "already exists")
	_, err = e.Service().State(e.ctx, &taskapi.StateRequest{ID: "nobody"})
	wantError(t, err, errdefs.ErrNotFound, "nobody")
	_, err = e.Service().Checkpoint(e.ctx, &taskapi.CheckpointTaskRequest{ID: k.id})
	wantError(t, err, errdefs.ErrNotImplemented, "not supported")
}

// wantError checks an error's kind and a part of its text.
func wantError(t *testing.T, err, kind error, text string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("no error, want %q", text)
	case !errors.Is(native(err), kind):
		t.Errorf("error %q has kind %T, want %T", err, errdefs.Resolve(native(err)), kind)
	case !strings.Contains(err.Error(), text):
		t.Errorf("error %q, want %q in it", err, text)
	}
}
