package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/containerd/errdefs"
	dockercli "github.com/docker/cli/cli"
	pluginmanager "github.com/docker/cli/cli-plugins/manager"
	"github.com/docker/cli/cli-plugins/socket"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// tryPlugin runs the plugin that args name, where they name no command of the
// tree, and reports whether there is one.
func (s *session) tryPlugin(ctx context.Context, root *cobra.Command, args, env []string) (ran bool, err error) {
	if len(args) == 0 {
		return false, nil
	}
	cmd, _, err := root.Find(args)
	if err == nil && !pluginmanager.IsPluginCommand(cmd) {
		return false, nil
	}
	err = s.runPlugin(ctx, root, args[0], env)
	if errdefs.IsNotFound(err) {
		return false, nil // the tree reports the unknown command
	}
	if cmd != nil && s.docker.Out().IsTerminal() && s.docker.HooksEnabled() {
		pluginmanager.RunPluginHooks(ctx, s.docker, root, cmd, args, hookMessage(err))
	}
	return true, err
}

// runPlugin runs one plugin with this process's arguments and waits for it.
func (s *session) runPlugin(ctx context.Context, root *cobra.Command, name string, env []string) error {
	plugin, err := pluginmanager.PluginRunCommand(s.docker, name, root)
	if err != nil {
		return err
	}
	if s.starter.enabled() {
		// A plugin has a client of its own, which cannot start an engine. If
		// that fails here, the plugin finds none and says so.
		_ = s.starter.start()
		plugin.Env = append(plugin.Env, client.EnvOverrideHost+"="+DefaultHost)
	}
	plugin.Env = append(plugin.Env, env...)
	// The plugin listens at this socket for our end. Without it, it does not.
	link, err := socket.NewPluginServer(nil)
	if err == nil {
		plugin.Env = append(plugin.Env, socket.EnvKey+"="+link.Addr().String())
		defer link.Close()
	}
	if err := plugin.Start(); err != nil {
		return fmt.Errorf("starting the plugin %s: %w", name, err)
	}
	done := make(chan struct{})
	defer close(done)
	// On a terminal, the plugin gets the same signals as we do.
	if !s.docker.Out().IsTerminal() {
		go stopPlugin(ctx, plugin.Process, func() {
			if link != nil {
				_ = link.Close()
			}
		}, done)
	}
	var exit *exec.ExitError
	if err := plugin.Wait(); errors.As(err, &exit) {
		return dockercli.StatusError{StatusCode: exit.ExitCode()}
	} else if err != nil {
		return fmt.Errorf("running the plugin %s: %w", name, err)
	}
	return nil
}

// stopPlugin asks a plugin to stop when ctx ends, and kills it at the second
// signal after that.
func stopPlugin(ctx context.Context, plugin *os.Process, ask func(), done <-chan struct{}) {
	signals := make(chan os.Signal, 2)
	select {
	case <-done:
		return
	case <-ctx.Done():
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
		defer signal.Stop(signals)
		ask()
	}
	for range 2 {
		select {
		case <-done:
			return
		case <-signals:
		}
	}
	_ = plugin.Kill() // or it has just ended
}

// runHooks lets plugins add their hints below a command that has run, where
// the user has switched them on.
func (s *session) runHooks(ctx context.Context, root *cobra.Command, args []string, err error) {
	if len(args) == 0 || !s.docker.Out().IsTerminal() || !s.docker.HooksEnabled() {
		return
	}
	if cmd, _, findErr := root.Find(args); findErr == nil {
		pluginmanager.RunCLICommandHooks(ctx, s.docker, root, cmd, hookMessage(err))
	}
}

func hookMessage(err error) string {
	if err == nil {
		return ""
	}
	if text := err.Error(); text != "" {
		return text
	}
	return fmt.Sprintf("exited with code %d", exitStatus(err))
}
