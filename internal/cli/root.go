package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	dockercli "github.com/docker/cli/cli"
	pluginmanager "github.com/docker/cli/cli-plugins/manager"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/command/commands"
	"github.com/docker/cli/cli/context/store"
	cliflags "github.com/docker/cli/cli/flags"
	dockerversion "github.com/docker/cli/cli/version"
	"github.com/spf13/cobra"

	"bothy/internal/version"
)

// newRoot returns the command tree and where its global flags are parsed to.
func (s *session) newRoot() (*cobra.Command, *cliflags.ClientOptions) {
	root := &cobra.Command{
		Use:                   "bothy [OPTIONS] COMMAND [ARG...]",
		Short:                 "Containers and virtual machines from the same images",
		SilenceUsage:          true,
		SilenceErrors:         true,
		TraverseChildren:      true,
		DisableFlagsInUseLine: true,
		Version:               fmt.Sprintf("%s, docker CLI %s", version.Version, dockerversion.Version),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.ShowHelp(s.docker.Err())(cmd, args)
			}
			return fmt.Errorf("bothy: unknown command: bothy %s\n\nRun 'bothy --help' for more information", args[0])
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return supported(cmd, s.docker)
		},
		CompletionOptions: cobra.CompletionOptions{
			HiddenDefaultCmd:    true,
			DisableDescriptions: os.Getenv("DOCKER_CLI_DISABLE_COMPLETION_DESCRIPTION") != "",
		},
	}
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.SetIn(s.docker.In())
	root.SetOut(s.docker.Out())
	root.SetErr(s.docker.Err())

	opts, help := dockercli.SetupRootCommand(root)
	root.SetVersionTemplate("bothy version {{.Version}}\n")
	root.Annotations["additionalHelp"] = "A container's home is chosen with --isolation: process (on this kernel) or vm (in a machine of its own)."
	root.Flags().BoolP("version", "v", false, "Print version information and quit")
	s.addCompletions(root)
	s.checkBeforeFlagErrors(root)
	s.helpWithPlugins(root, help)
	commands.AddCommands(root, s.docker)
	renameAliases(root)
	s.checkBeforeArgErrors(root)
	return root, opts
}

// renameAliases puts our name where docker's commands list their aliases, as in
// "docker container run, docker run".
func renameAliases(cmd *cobra.Command) {
	const key = "aliases"
	if text, ok := cmd.Annotations[key]; ok {
		names := strings.Split(text, ", ")
		for i, name := range names {
			if rest, ok := strings.CutPrefix(name, "docker "); ok {
				names[i] = "bothy " + rest
			}
		}
		cmd.Annotations[key] = strings.Join(names, ", ")
	}
	for _, sub := range cmd.Commands() {
		renameAliases(sub)
	}
}

// addCompletions completes the values of global flags. The flags exist, so
// there is no error.
func (s *session) addCompletions(root *cobra.Command) {
	_ = root.RegisterFlagCompletionFunc("context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		names, _ := store.Names(s.docker.ContextStore())
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	_ = root.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions(
		[]string{"debug", "info", "warn", "error", "fatal", "panic"}, cobra.ShellCompDirectiveNoFileComp))
}

// checkBeforeFlagErrors makes a command that the engine does not support say
// so, instead of complaining about its flags.
func (s *session) checkBeforeFlagErrors(root *cobra.Command) {
	report := root.FlagErrorFunc()
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if err := supported(cmd, s.docker); err != nil {
			return err
		}
		return report(cmd, err)
	})
}

// checkBeforeArgErrors does the same for complaints about arguments, below cmd.
func (s *session) checkBeforeArgErrors(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		s.checkBeforeArgErrors(sub)
	}
	if cmd.Args == nil || !annotated(cmd) {
		return
	}
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := supported(cmd, s.docker); err != nil {
			return err
		}
		return check(cmd, args)
	}
}

// helpWithPlugins makes help list plugins and forward questions about them.
// Asking for help starts no engine.
func (s *session) helpWithPlugins(root, help *cobra.Command) {
	runHelp := help.RunE
	help.RunE = func(cmd *cobra.Command, args []string) error {
		s.starter.disable()
		if len(args) == 0 {
			return runHelp(cmd, args)
		}
		plugin, err := pluginmanager.PluginRunCommand(s.docker, args[0], root)
		if err == nil {
			return plugin.Run()
		}
		if !errdefs.IsNotFound(err) {
			return fmt.Errorf("unknown help topic: %s", args[0])
		}
		return runHelp(cmd, args)
	}

	show := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		s.starter.disable()
		if err := s.addPluginStubs(cmd.Root()); err != nil {
			cmd.Println(err)
			return
		}
		if len(args) > 0 {
			err := s.pluginHelp(cmd.Root(), args)
			if err == nil {
				return
			}
			if !errdefs.IsNotFound(err) {
				cmd.Println(err)
				return
			}
		}
		// "bake" is buildx's: without it there is no such command.
		if c, _, err := cmd.Root().Find([]string{"buildx"}); err != nil || c == nil {
			if bake, _, err := cmd.Root().Find([]string{"bake"}); err == nil {
				bake.Hidden = true
			}
		}
		if err := supported(cmd, s.docker); err != nil {
			cmd.Println(err)
			return
		}
		hideUnsupported(cmd, s.docker)
		show(cmd, args)
	})
}

// pluginHelp lets the plugin whose command args name help. The error is of
// the kind errdefs.ErrNotFound if no plugin has it.
func (s *session) pluginHelp(root *cobra.Command, args []string) error {
	cmd, _, err := root.Traverse(args)
	if err != nil {
		return err
	}
	plugin, err := pluginmanager.PluginRunCommand(s.docker, cmd.Name(), root)
	if err != nil {
		return err
	}
	return plugin.Run()
}

func (s *session) addPluginStubs(root *cobra.Command) error {
	return pluginmanager.AddPluginCommandStubs(s.docker, root)
}
