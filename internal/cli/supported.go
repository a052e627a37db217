package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/docker/cli/cli/command"
	"github.com/moby/moby/client/pkg/versions"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Annotations with which docker's commands and flags say what they need of an
// engine.
const (
	needsVersion      = "version" // the lowest API version
	needsOS           = "ostype"
	needsExperimental = "experimental"
	needsSwarm        = "swarm"     // "", "active" or "manager"
	onlyBelow         = "top-level" // a global flag: the commands whose help shows it
)

// server is what is known of the engine. Both methods ask it at their first
// call, so they are called only where something depends on the answer.
type server interface {
	CurrentVersion() string
	ServerInfo() command.ServerInfo
}

// supported returns why the engine cannot serve cmd with the flags that are
// set, or nil.
func supported(cmd *cobra.Command, s server) error {
	for c := cmd; c != nil; c = c.Parent() {
		if reason := lacks(c.Annotations, s); reason != "" {
			return fmt.Errorf("%s %s", cmd.CommandPath(), reason)
		}
	}
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Changed || len(f.Annotations) == 0 {
			return
		}
		if reason := lacks(first(f.Annotations), s); reason != "" {
			errs = append(errs, fmt.Errorf(`"--%s" %s`, f.Name, reason))
		}
	})
	return errors.Join(errs...)
}

// lacks returns what the engine lacks of the needs, as the end of a sentence,
// or "".
func lacks(needs map[string]string, s server) string {
	if v, ok := needs[needsVersion]; ok && versions.LessThan(s.CurrentVersion(), v) {
		return fmt.Sprintf("requires API version %s, but the engine's API version is %s", v, s.CurrentVersion())
	}
	if v, ok := needs[needsOS]; ok {
		if os := s.ServerInfo().OSType; os != "" && os != v {
			return fmt.Sprintf("is only supported on an engine running on %s, but this one is running on %s", v, os)
		}
	}
	if _, ok := needs[needsExperimental]; ok && !s.ServerInfo().HasExperimental {
		return "is only supported on an engine with experimental features enabled"
	}
	return ""
}

// lacksSwarm reports whether the engine's part in a swarm rules the need out.
func lacksSwarm(needs map[string]string, s server) bool {
	need, ok := needs[needsSwarm]
	if !ok {
		return false
	}
	status := s.ServerInfo().SwarmStatus
	if status == nil { // it does not say
		return false
	}
	switch need {
	case "manager":
		return !status.ControlAvailable
	case "active":
		return status.NodeState == "inactive"
	}
	return false
}

// hideUnsupported leaves out of cmd's help what the engine cannot serve.
func hideUnsupported(cmd *cobra.Command, s server) {
	hide := func(needs map[string]string) bool {
		return lacks(needs, s) != "" || lacksSwarm(needs, s)
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if below, ok := f.Annotations[onlyBelow]; ok && cmd.HasParent() {
			f.Hidden = !isBelow(cmd, below)
		}
		f.Hidden = f.Hidden || hide(first(f.Annotations))
	})
	for _, sub := range cmd.Commands() {
		sub.Hidden = sub.Hidden || hide(sub.Annotations)
	}
}

// isBelow reports whether cmd or a command above it has one of the names.
func isBelow(cmd *cobra.Command, names []string) bool {
	for c := cmd; c != nil; c = c.Parent() {
		if slices.Contains(names, c.Name()) {
			return true
		}
	}
	return false
}

// annotated reports whether cmd or a command above it needs something.
func annotated(cmd *cobra.Command) bool {
	for c := cmd; c != nil; c = c.Parent() {
		if len(c.Annotations) > 0 {
			return true
		}
	}
	return false
}

// first returns a flag's annotations as a command has them.
func first(annotations map[string][]string) map[string]string {
	needs := make(map[string]string, len(annotations))
	for key, values := range annotations {
		needs[key] = ""
		if len(values) > 0 {
			needs[key] = values[0]
		}
	}
	return needs
}
