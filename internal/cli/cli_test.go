package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/commands"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the golden files")

// newSession returns a session that writes to out and starts no engine. The
// tests with sessions are not parallel: docker's library keeps its help command
// and its configuration directory in variables of its own.
func newSession(t *testing.T, out *bytes.Buffer) *session {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	docker, err := command.NewDockerCli(command.WithCombinedStreams(out), command.WithBaseContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	s := &session{docker: docker, starter: newStarter(t.Context(), out)}
	s.starter.disable()
	return s
}

// tree lists every command below cmd with its flags.
func tree(cmd *cobra.Command) []string {
	line := strings.TrimPrefix(cmd.CommandPath()+" ", cmd.Root().Name()+" ")
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name := " --" + f.Name
		if f.Shorthand != "" {
			name += "|-" + f.Shorthand
		}
		line += name + "=" + f.Value.Type()
	})
	lines := []string{strings.TrimSpace(line)}
	for _, sub := range cmd.Commands() {
		lines = append(lines, tree(sub)...)
	}
	return lines
}

func TestTreeIsDockers(t *testing.T) {
	s := newSession(t, new(bytes.Buffer))
	root, _ := s.newRoot()
	got := tree(root)

	docker := &cobra.Command{Use: "docker"}
	dockercli.SetupRootCommand(docker)
	docker.Flags().BoolP("version", "v", false, "")
	commands.AddCommands(docker, s.docker)
	if want := tree(docker); !slices.Equal(got, want) {
		t.Errorf("got %d commands, docker has %d", len(got), len(want))
	}

	golden := filepath.Join("testdata", "tree.golden")
	text := strings.Join(got, "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs: docker's library has changed; look at what, then run with -update", golden)
	}
}

// run runs a command line against the engine of a starter, and returns what it
// printed.
func run(t *testing.T, st *starter, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	s := newSession(t, &out)
	s.starter = st
	old := os.Args
	os.Args = append([]string{"bothy"}, args...)
	defer func() { os.Args = old }()
	err := s.run(t.Context())
	if err != nil {
		out.WriteString(s.message(err))
	}
	return out.String(), err
}

func TestCommandStartsTheEngine(t *testing.T) {
	st, notice, dir := newFixture(t, "serves")
	out, err := run(t, st, "ps", "--format", "{{.Names}} {{.Image}}")
	if err != nil || out != "web busybox\n" {
		t.Errorf("printed %q, %v", out, err)
	}
	if len(starts(t, dir)) != 1 || !strings.HasPrefix(notice.String(), "bothy: started") {
		t.Errorf("%d starts, told %q", len(starts(t, dir)), notice)
	}
}

func TestNothingElseStartsTheEngine(t *testing.T) {
	for _, args := range [][]string{
		nil, {"--help"}, {"help"}, {"help", "run"}, {"run", "--help"}, {"--version"}, {"nonsense"},
		{"__complete", "ru", ""}, {"context", "ls"},
		{"-H", "unix:///absent.sock", "ps"},
	} {
		st, _, dir := newFixture(t, "serves")
		out, _ := run(t, st, args...)
		if n := len(starts(t, dir)); n != 0 {
			t.Errorf("%q started an engine, and printed:\n%s", args, out)
		}
	}
}

func TestMessages(t *testing.T) {
	for want, args := range map[string][]string{
		"bothy: unknown command: bothy nonsense\n\nRun 'bothy --help' for more information": {"nonsense"},
		"bothy: starting the engine: ":                               {"ps"},
		"Usage:  bothy run [OPTIONS]":                                {"run", "--nonsense"},
		"bothy version dev":                                          {"--version"},
		"failed to connect to the docker API at unix:///absent.sock": {"-H", "unix:///absent.sock", "ps"},
		DefaultHost: {"context", "ls"},
	} {
		st, _, _ := newFixture(t, "fails")
		if out, _ := run(t, st, args...); !strings.Contains(out, want) {
			t.Errorf("%q printed %q, not %q", args, out, want)
		}
	}
	st, _, _ := newFixture(t, "fails")
	out, err := run(t, st, "run", "busybox")
	if exitStatus(err) != 125 || !strings.HasPrefix(out, "bothy: starting the engine: ") {
		t.Errorf("printed %q, status %d", out, exitStatus(err))
	}
}

func TestRename(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"docker: no\n\nRun 'docker run --help' for more information": "bothy: no\n\nRun 'bothy run --help' for more information",
		"no such image: docker: x":                                   "no such image: docker: x",
		"":                                                           "",
	} {
		if got := rename(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestEndpointOfEnvironmentAndContext(t *testing.T) {
	for _, c := range []struct {
		env, context string
		args         []string
		want         string
		starts       bool
	}{
		{want: DefaultHost, starts: true},
		{env: DefaultHost, want: DefaultHost, starts: true},
		{args: []string{"-H", DefaultHost}, want: DefaultHost, starts: true},
		{env: "tcp://127.0.0.1:1", want: "tcp://127.0.0.1:1"},
		{env: "tcp://127.0.0.1:1", args: []string{"-H", "unix:///x"}, want: "unix:///x"},
		{args: []string{"--tls"}}, // docker's default is then a TCP address
		{context: "other"},
		{context: "other", args: []string{"--context", "default"}, want: DefaultHost, starts: true},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			s := newSession(t, new(bytes.Buffer))
			s.starter = newStarter(t.Context(), new(bytes.Buffer))
			t.Setenv(client.EnvOverrideHost, c.env)
			t.Setenv(command.EnvOverrideContext, c.context)
			root, opts := s.newRoot()
			top := dockercli.NewTopLevelCommand(root, s.docker, opts, root.Flags())
			top.SetArgs(c.args)
			if _, _, err := top.HandleGlobalFlags(); err != nil {
				t.Fatal(err)
			}
			if err := top.Initialize(); err != nil {
				t.Fatal(err)
			}
			if err := s.chooseEndpoint(opts); err != nil {
				t.Fatal(err)
			}
			if s.starter.enabled() != c.starts {
				t.Errorf("the engine would be started: %t", s.starter.enabled())
			}
			if c.want == "" {
				return
			}
			meta, err := s.docker.ContextStore().GetMetadata(s.docker.CurrentContext())
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(meta.Endpoints["docker"]); !strings.Contains(got, c.want) {
				t.Errorf("the endpoint is %s, want %s", got, c.want)
			}
		})
	}
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(signalled{syscall.SIGTERM})
	for want, err := range map[int]error{
		0: nil, 1: errors.New("no"), 42: dockercli.StatusError{StatusCode: 42},
		143: fmt.Errorf("waiting: %w", context.Cause(ctx)),
		130: signalled{syscall.SIGINT},
	} {
		if got := exitStatus(err); got != want {
			t.Errorf("%v: got %d, want %d", err, got, want)
		}
	}
	if got := exitStatus(errdefs.ErrNotFound); got != 1 {
		t.Errorf("got %d", got)
	}
}

// oldEngine supports little.
type oldEngine struct{}

func (oldEngine) CurrentVersion() string { return "1.30" }

func (oldEngine) ServerInfo() command.ServerInfo {
	return command.ServerInfo{OSType: "linux", SwarmStatus: &client.SwarmStatus{NodeState: swarm.LocalNodeStateInactive}}
}

func TestSupported(t *testing.T) {
	t.Parallel()
	for want, needs := range map[string]map[string]string{
		"": {"version": "1.30", "ostype": "linux", "swarm": "manager"},
		"root sub requires API version 1.31, but the engine's API version is 1.30":                     {"version": "1.31"},
		"root sub is only supported on an engine running on windows, but this one is running on linux": {"ostype": "windows"},
		"root sub is only supported on an engine with experimental features enabled":                   {"experimental": ""},
	} {
		root, sub := &cobra.Command{Use: "root"}, &cobra.Command{Use: "sub", Annotations: needs}
		root.AddCommand(sub)
		got := ""
		if err := supported(sub, oldEngine{}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}

	cmd := &cobra.Command{Use: "cmd"}
	cmd.Flags().Bool("new", false, "")
	cmd.Flags().Bool("old", false, "")
	_ = cmd.Flags().SetAnnotation("new", "version", []string{"1.40"})
	if err := supported(cmd, oldEngine{}); err != nil {
		t.Errorf("a flag that is not set: %v", err)
	}
	hideUnsupported(cmd, oldEngine{})
	if !cmd.Flags().Lookup("new").Hidden || cmd.Flags().Lookup("old").Hidden {
		t.Error("the wrong flags are hidden")
	}
	_ = cmd.Flags().Set("new", "true")
	want := `"--new" requires API version 1.40, but the engine's API version is 1.30`
	if err := supported(cmd, oldEngine{}); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestHideUnsupportedCommands(t *testing.T) {
	t.Parallel()
	root := &cobra.Command{Use: "root"}
	hidden := map[string]bool{"manager": true, "active": true, "": false}
	for need := range hidden {
		root.AddCommand(&cobra.Command{Use: "swarm" + need, Annotations: map[string]string{"swarm": need}})
	}
	hideUnsupported(root, oldEngine{})
	for _, sub := range root.Commands() {
		if want := hidden[sub.Annotations["swarm"]]; sub.Hidden != want {
			t.Errorf("%s is hidden: %t", sub.Name(), sub.Hidden)
		}
	}
}
