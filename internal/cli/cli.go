// Package cli is the command line of bothy: docker's own command tree, used as
// a library, with bothy's engine as the place that it talks to by default.
//
// Every docker command, flag, context, credential helper and plugin works as
// with docker. What differs: the default socket is bothy's, and where no engine
// listens there, root's first request starts one.
//
// It is a client of the Engine API like any other, and knows nothing of the
// engine's insides.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	dockercli "github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	cliflags "github.com/docker/cli/cli/flags"
	dockerversion "github.com/docker/cli/cli/version"
	"github.com/moby/moby/client"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"bothy/internal/version"
)

// gcPercent lets most commands end before their first garbage collection, which
// would hold them up while the command tree is built.
const gcPercent = 400

// Main runs the command line that the process was started with and returns
// its exit status: the command's own, 125 where docker has 125, 128+n after
// signal n.
func Main(ctx context.Context) int {
	debug.SetGCPercent(gcPercent)
	ctx, stop := notify(ctx)
	defer stop()
	nameClient()
	docker, err := command.NewDockerCli(command.WithBaseContext(ctx))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	logrus.SetOutput(docker.Err())
	s := &session{docker: docker, starter: newStarter(ctx, docker.Err())}
	err = s.run(ctx)
	if err != nil && !errdefs.IsCanceled(err) && !errors.As(err, new(signalled)) {
		if text := s.message(err); text != "" {
			fmt.Fprintln(docker.Err(), text)
		}
	}
	return exitStatus(err)
}

// session is one run of the command line.
type session struct {
	docker  *command.DockerCli
	starter *starter
}

func (s *session) run(ctx context.Context) error {
	root, opts := s.newRoot()
	top := dockercli.NewTopLevelCommand(root, s.docker, opts, root.Flags())
	_, args, err := top.HandleGlobalFlags()
	if err != nil {
		return err
	}
	if err := top.Initialize(); err != nil {
		return err
	}
	if err := s.chooseEndpoint(opts); err != nil {
		return err
	}
	args, env, err := s.forwardBuild(root, args)
	if err != nil {
		return err
	}
	if completes(args) {
		s.starter.disable()
		if err := s.addPluginStubs(root); err != nil {
			return err
		}
	}
	if ran, err := s.tryPlugin(ctx, root, args, env); ran {
		return err
	}
	go s.exitAfterSignals(ctx)
	root.SetArgs(args) // the global flags are parsed already
	err = root.ExecuteContext(ctx)
	s.runHooks(ctx, root, args, err)
	return runStatus(root, args, err)
}

// runStatus gives "run" the status 125 where no engine answers, which scripts
// know from docker, and which its library has lost (v29.7.2).
func runStatus(root *cobra.Command, args []string, err error) error {
	if !client.IsErrConnectionFailed(err) || errors.As(err, new(dockercli.StatusError)) {
		return err
	}
	if cmd, _, findErr := root.Find(args); findErr == nil && cmd.Name() == "run" {
		return dockercli.StatusError{Cause: err, Status: err.Error(), StatusCode: 125}
	}
	return err
}

// chooseEndpoint makes bothy's socket the default context's endpoint, where
// neither flag nor environment names one, and has it started on demand.
func (s *session) chooseEndpoint(opts *cliflags.ClientOptions) error {
	host := os.Getenv(client.EnvOverrideHost)
	if len(opts.Hosts) > 0 {
		host = opts.Hosts[0]
	}
	// With TLS and no host, docker's default is a TCP address.
	if host == "" && s.docker.CurrentContext() == command.DefaultContextName && opts.TLSOptions == nil {
		opts.Hosts = []string{DefaultHost}
		host = DefaultHost
	}
	if host != DefaultHost || s.docker.CurrentContext() != command.DefaultContextName {
		s.starter.disable()
		return nil
	}
	return command.WithAPIClientOptions(client.WithDialContext(s.starter.dial))(s.docker)
}

// message is what the user is told about err.
func (s *session) message(err error) string {
	if problem := s.starter.problem(); problem != nil && client.IsErrConnectionFailed(err) {
		return "bothy: " + problem.Error()
	}
	return rename(err.Error())
}

// rename puts our name where docker's library has its own written out.
func rename(text string) string {
	if rest, ok := strings.CutPrefix(text, "docker: "); ok {
		text = "bothy: " + rest
	}
	return strings.Replace(text, "\nRun 'docker ", "\nRun 'bothy ", 1)
}

// signalled is the cause of a context that ended with a signal.
type signalled struct{ signal syscall.Signal }

func (s signalled) Error() string { return s.signal.String() }

// notify returns a context that ends with the first SIGTERM or SIGINT.
func notify(ctx context.Context) (context.Context, func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-ctx.Done():
		case sig := <-signals:
			if n, ok := sig.(syscall.Signal); ok {
				cancel(signalled{n})
			}
		}
		signal.Stop(signals)
	}()
	return ctx, func() { cancel(nil) }
}

// exitAfterSignals ends the process when a command does not heed the first
// signal, and two more follow.
func (s *session) exitAfterSignals(ctx context.Context) {
	<-ctx.Done()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	for range 2 {
		<-signals
	}
	fmt.Fprintln(s.docker.Err(), "\ngot 3 SIGTERM/SIGINTs, forcefully exiting")
	s.docker.In().RestoreTerminal()
	s.docker.Out().RestoreTerminal()
	s.docker.Err().RestoreTerminal()
	os.Exit(1)
}

// exitStatus returns the status that the process ends with after err.
func exitStatus(err error) int {
	var sig signalled
	var status dockercli.StatusError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &sig):
		return 128 + int(sig.signal)
	case errors.As(err, &status) && status.StatusCode != 0:
		return status.StatusCode
	case errdefs.IsCanceled(err):
		return 0
	}
	return 1
}

// completes reports whether a shell asks how a command line could go on.
func completes(args []string) bool {
	for _, arg := range args {
		if arg == cobra.ShellCompRequestCmd || arg == cobra.ShellCompNoDescRequestCmd {
			return true
		}
	}
	return false
}

// nameClient sets what "bothy version" says of the client: the version of
// docker's library, which tools look for, under our name.
func nameClient() {
	dockerversion.PlatformName = "bothy " + version.Version
	if version.Commit != "" {
		dockerversion.GitCommit, dockerversion.BuildTime = version.Commit, version.Time
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/docker/cli" {
			dockerversion.Version = strings.TrimSuffix(strings.TrimPrefix(dep.Version, "v"), "+incompatible")
		}
	}
}
