package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
)

// NewCommand gives bothyd's command line. open makes the engine that it serves.
func NewCommand(version string, open Opener) *cobra.Command {
	cfg := Defaults()
	cfg.Trace = os.Getenv("BOTHY_TRACE")
	var file string
	var validate bool
	cmd := &cobra.Command{
		Use:           "bothyd [OPTIONS]",
		Short:         "The engine of bothy: containers and virtual machines behind the Docker Engine API",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{
			DisableDefaultCmd: true,
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.readFile(file, cmd.Flags(), cmd.Flags().Changed("config-file")); err != nil {
				return err
			}
			if err := cfg.complete(); err != nil {
				return err
			}
			if validate {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "configuration OK")
				return err
			}
			if os.Geteuid() != 0 {
				return errors.New("bothyd needs to run as root: it makes namespaces, mounts and network interfaces; try sudo bothyd")
			}
			log, err := cfg.logger(os.Stderr)
			if err != nil {
				return err
			}
			slog.SetDefault(log)
			quietLibraries(log)
			return Run(cmd.Context(), cfg, version, log, open)
		},
	}
	cmd.SetVersionTemplate("bothyd version {{.Version}}\n")
	f := cmd.Flags()
	f.SortFlags = true
	f.BoolP("version", "v", false, "Print the version and quit")
	f.BoolVar(&validate, "validate", false, "Check the configuration and quit")
	f.StringVar(&file, "config-file", DefaultConfigFile, "File with further options, in dockerd's format")
	cfg.bind(f)
	return cmd
}

// Main runs bothyd with the process's arguments and gives its exit status.
func Main(version string, open Opener) int {
	if err := NewCommand(version, open).ExecuteContext(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "bothyd: %v\n", err)
		return 1
	}
	return 0
}
