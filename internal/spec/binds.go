package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Bind is a host directory or file that the container sees.
type Bind struct {
	Source, Target string // absolute, clean
	ReadOnly       bool
	NonRecursive   bool
	// ReadOnlyNonRecursive leaves mounts below Source writable.
	ReadOnlyNonRecursive bool
	Propagation          mount.Propagation // never empty
	// CreateSource makes a directory where Source is missing, as -v does.
	CreateSource bool
}

// Binds reads --volume (with a host path) and --mount type=bind.
func Binds(hc *container.HostConfig) ([]Bind, error) {
	var all []Bind
	for _, text := range hc.Binds {
		b, err := parseBind(text)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	for _, m := range hc.Mounts {
		if m.Type != mount.TypeBind {
			continue
		}
		b, err := bindOf(m)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// PrepareBinds looks at the sources of a container's binds on this host before
// it starts: a missing one is made (-v) or is ErrInvalidArgument (--mount).
func PrepareBinds(hc *container.HostConfig) error {
	binds, err := Binds(hc)
	if err != nil {
		return err
	}
	for _, b := range binds {
		_, err := os.Stat(b.Source)
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist) && b.CreateSource:
			if err := os.MkdirAll(b.Source, 0o755); err != nil {
				return fmt.Errorf("making the bind source %s: %w", b.Source, err)
			}
		case errors.Is(err, fs.ErrNotExist):
			return invalidf("invalid mount config for type \"bind\": bind source path does not exist: %s", b.Source)
		default:
			return fmt.Errorf("looking at the bind source %s: %w", b.Source, err)
		}
	}
	return nil
}

func (b Bind) mount() specs.Mount {
	options := []string{"rbind"}
	if b.NonRecursive {
		options[0] = "bind"
	}
	switch {
	case b.ReadOnly && (b.NonRecursive || b.ReadOnlyNonRecursive):
		options = append(options, "ro")
	case b.ReadOnly:
		options = append(options, "rro")
	}
	return specs.Mount{Destination: b.Target, Type: "bind", Source: b.Source, Options: append(options, string(b.Propagation))}
}

// parseBind reads "source:target[:options]".
func parseBind(text string) (Bind, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return Bind{}, invalidf("invalid volume specification: '%s'", text)
	}
	b := Bind{Source: parts[0], Target: parts[1], Propagation: mount.PropagationRPrivate, CreateSource: true}
	if !path.IsAbs(b.Source) {
		return Bind{}, notYetf("--volume %s: named volumes are not there yet; bind a host directory by its absolute path", text)
	}
	if err := checkTarget(b.Target); err != nil {
		return Bind{}, fmt.Errorf("invalid volume specification: '%s': %w", text, err)
	}
	if len(parts) == 3 {
		if err := b.setMode(parts[2]); err != nil {
			return Bind{}, err
		}
	}
	b.Source, b.Target = path.Clean(b.Source), path.Clean(b.Target)
	return b, checkPropagation(b.Propagation)
}

// setMode reads the options of a --volume; each kind may be given once. "z"
// and "Z" concern SELinux, the consistencies Docker Desktop: neither is here.
func (b *Bind) setMode(mode string) error {
	seen := map[string]bool{}
	for _, option := range strings.Split(mode, ",") {
		kind := ""
		switch option {
		case "ro", "rw":
			kind, b.ReadOnly = "access", option == "ro"
		case "z", "Z":
			kind = "label"
		case "cached", "delegated", "consistent", "default":
			kind = "consistency"
		case "private", "rprivate", "shared", "rshared", "slave", "rslave":
			kind, b.Propagation = "propagation", mount.Propagation(option)
		}
		if kind == "" || seen[kind] {
			return invalidf("invalid mode: %s", mode)
		}
		seen[kind] = true
	}
	return nil
}

// bindOf reads --mount type=bind.
func bindOf(m mount.Mount) (Bind, error) {
	invalid := func(what string) error {
		return invalidf("invalid mount config for type \"bind\": %s", what)
	}
	switch {
	case m.Source == "":
		return Bind{}, invalid("field Source must not be empty")
	case !path.IsAbs(m.Source):
		return Bind{}, invalid(fmt.Sprintf("invalid mount path: '%s' mount path must be absolute", m.Source))
	case m.VolumeOptions != nil || m.TmpfsOptions != nil || m.ImageOptions != nil:
		return Bind{}, invalid("options of another type of mount were given")
	}
	if err := checkTarget(m.Target); err != nil {
		return Bind{}, fmt.Errorf("invalid mount config for type \"bind\": %w", err)
	}
	b := Bind{Source: path.Clean(m.Source), Target: path.Clean(m.Target), ReadOnly: m.ReadOnly, Propagation: mount.PropagationRPrivate}
	o := m.BindOptions
	if o == nil {
		return b, nil
	}
	if (o.ReadOnlyNonRecursive || o.ReadOnlyForceRecursive) && !m.ReadOnly {
		return Bind{}, invalid("recursion of read-only is set, but the mount is writable")
	}
	if o.ReadOnlyNonRecursive && o.ReadOnlyForceRecursive {
		return Bind{}, invalid("ReadOnlyNonRecursive and ReadOnlyForceRecursive contradict each other")
	}
	b.NonRecursive, b.ReadOnlyNonRecursive, b.CreateSource = o.NonRecursive, o.ReadOnlyNonRecursive, o.CreateMountpoint
	if o.Propagation != "" {
		b.Propagation = o.Propagation
	}
	return b, checkPropagation(b.Propagation)
}

// checkPropagation refuses what would carry mounts out of the container: it
// starts from a copy of the host's mounts that only receives.
func checkPropagation(p mount.Propagation) error {
	switch p {
	case mount.PropagationShared, mount.PropagationRShared:
		return notYetf("mounts with %s propagation to the host are not there yet; rslave shows the host's mounts to the container", p)
	}
	if !slices.Contains(mount.Propagations, p) {
		return invalidf("invalid propagation mode: %s", p)
	}
	return nil
}

func checkTarget(target string) error {
	if !path.IsAbs(target) {
		return invalidf("invalid mount path: '%s' mount path must be absolute", target)
	}
	if path.Clean(target) == "/" {
		return invalidf("invalid specification: destination can't be '/'")
	}
	return nil
}

func checkTargets(all []specs.Mount) error {
	seen := map[string]bool{}
	for _, m := range all {
		if seen[m.Destination] {
			return invalidf("duplicate mount point: %s", m.Destination)
		}
		seen[m.Destination] = true
	}
	return nil
}
