package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	pluginmanager "github.com/docker/cli/cli-plugins/manager"
	"github.com/docker/cli/cli-plugins/metadata"
	"github.com/spf13/cobra"
)

// builderAlias is the only alias that docker's configuration file may hold.
const builderAlias = "builder"

// forwardBuild sends the build commands to the buildx plugin, or to the one
// that the configuration names, where it is installed: it returns the arguments
// that are left and what is added to the plugin's environment. os.Args, which
// plugins are run with, changes likewise.
func (s *session) forwardBuild(root *cobra.Command, args []string) (left, env []string, err error) {
	builder, configured := "buildx", false
	for name, target := range s.docker.ConfigFile().Aliases {
		if name != builderAlias {
			return nil, nil, fmt.Errorf("not allowed to alias %q in the configuration file (allowed: %q)", name, builderAlias)
		}
		if cmd, _, err := root.Find(strings.Fields(target)); err == nil && cmd != root && !pluginmanager.IsPluginCommand(cmd) {
			return nil, nil, fmt.Errorf("not allowed to alias %q to the command %q in the configuration file: it is no plugin", name, target)
		}
		builder, configured = target, true
	}
	forced, off := configured, false
	if text := os.Getenv("DOCKER_BUILDKIT"); text != "" {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return nil, nil, fmt.Errorf("DOCKER_BUILDKIT environment variable expects boolean value: %w", err)
		}
		forced, off = forced || on, !on
	}
	from, to, parent := buildCommand(builder, args)
	isBake := slices.Equal(from, []string{"bake"})
	if from == nil || off && !isBake {
		return args, nil, nil
	}

	plugin, err := pluginmanager.GetPlugin(builder, s.docker, root)
	if err == nil {
		err = plugin.Err
	}
	if err != nil {
		if isBake || forced {
			return nil, nil, errors.Join(err, fmt.Errorf("bothy %s needs the plugin %s, which is missing or broken: install it (https://docs.docker.com/go/buildx/)", args[0], builder))
		}
		return args, nil, nil // the command of the tree builds
	}
	if !configured && os.Getenv("BUILDX_BUILDER") == "" && !namesBuilder(args) {
		// The result belongs into this engine, whatever builder is current.
		env = append(env, "BUILDX_BUILDER="+s.docker.CurrentContext())
	}
	root.Annotations[metadata.CommandAnnotationPluginCommandPath] = strings.Join(append([]string{root.CommandPath()}, parent...), " ")
	if at := len(os.Args) - len(args); at >= 0 && slices.Equal(os.Args[at:], args) {
		os.Args = slices.Concat(os.Args[:at], to, args[len(from):])
	}
	return slices.Concat(to, args[len(from):]), env, nil
}

// buildCommand returns the words at the beginning of args that mean building,
// those that mean it to the plugin, and what the plugin's help is to show
// before its own name; nil if args mean something else.
func buildCommand(builder string, args []string) (from, to, parent []string) {
	for _, c := range []struct{ from, to, parent []string }{
		{[]string{"bake"}, []string{builder, "bake"}, nil},
		{[]string{"builder"}, []string{builder}, []string{"builder"}},
		{[]string{"build"}, []string{builder, "build"}, nil},
		{[]string{"image", "build"}, []string{builder, "build"}, []string{"image"}},
	} {
		if len(args) >= len(c.from) && slices.Equal(args[:len(c.from)], c.from) {
			return c.from, c.to, c.parent
		}
	}
	return nil, nil, nil
}

// namesBuilder reports whether args choose a builder.
func namesBuilder(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		return arg == "--builder" || strings.HasPrefix(arg, "--builder=")
	})
}
