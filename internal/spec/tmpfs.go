package spec

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// tmpfsMounts are --tmpfs, in the order of their paths, and --mount type=tmpfs.
func tmpfsMounts(hc *container.HostConfig) ([]specs.Mount, error) {
	var all []specs.Mount
	add := func(target string, options []string) error {
		merged, err := mergeTmpfsOptions(append([]string{"noexec", "nosuid", "nodev", "rprivate"}, options...))
		if err != nil {
			return fmt.Errorf("--tmpfs %s: %w", target, err)
		}
		all = append(all, specs.Mount{Destination: path.Clean(target), Type: "tmpfs", Source: "tmpfs", Options: merged})
		return nil
	}
	for _, target := range slices.Sorted(maps.Keys(hc.Tmpfs)) {
		if err := checkTarget(target); err != nil {
			return nil, err
		}
		var options []string
		if text := hc.Tmpfs[target]; text != "" {
			options = strings.Split(text, ",")
		}
		if err := add(target, options); err != nil {
			return nil, err
		}
	}
	for _, m := range hc.Mounts {
		if m.Type != mount.TypeTmpfs {
			continue
		}
		if err := checkTarget(m.Target); err != nil {
			return nil, err
		}
		options, err := tmpfsOptions(m)
		if err != nil {
			return nil, err
		}
		if err := add(m.Target, options); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// tmpfsOptions are those of --mount type=tmpfs.
func tmpfsOptions(m mount.Mount) ([]string, error) {
	invalid := func(what string) error {
		return invalidf("invalid mount config for type \"tmpfs\": %s", what)
	}
	if m.Source != "" {
		return nil, invalid("field Source must not be specified")
	}
	if m.BindOptions != nil || m.VolumeOptions != nil || m.ImageOptions != nil {
		return nil, invalid("options of another type of mount were given")
	}
	var options []string
	if m.ReadOnly {
		options = append(options, "ro")
	}
	if m.TmpfsOptions == nil {
		return options, nil
	}
	if m.TmpfsOptions.SizeBytes < 0 {
		return nil, invalid("the size cannot be negative")
	}
	if m.TmpfsOptions.Mode != 0 {
		options = append(options, fmt.Sprintf("mode=%o", m.TmpfsOptions.Mode))
	}
	if m.TmpfsOptions.SizeBytes > 0 {
		options = append(options, "size="+strconv.FormatInt(m.TmpfsOptions.SizeBytes, 10))
	}
	for _, pair := range m.TmpfsOptions.Options {
		if len(pair) < 1 || len(pair) > 2 {
			return nil, invalid("an option is a name, or a name and a value")
		}
		options = append(options, strings.Join(pair, "="))
	}
	return options, nil
}

// mergeTmpfsOptions keeps the last of the options that contradict each other
// ("exec" after "noexec", a second "size"), in the order of their last
// appearance, and refuses what is no option of a tmpfs.
func mergeTmpfsOptions(options []string) ([]string, error) {
	seen := map[string]bool{}
	var merged []string
	for _, option := range slices.Backward(options) {
		key, value, hasValue := strings.Cut(option, "=")
		group := tmpfsFlagGroup(key)
		switch {
		case hasValue && slices.Contains([]string{"size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"}, key) && value != "":
			group = key
		case hasValue || group == "":
			return nil, invalidf("invalid tmpfs option %q", option)
		}
		if !seen[group] {
			seen[group] = true
			merged = append(merged, option)
		}
	}
	slices.Reverse(merged)
	return merged, nil
}

// tmpfsFlagGroup names what a flag sets: of one group the last flag counts.
// "" is no flag.
func tmpfsFlagGroup(flag string) string {
	groups := [][]string{
		{"ro", "rw"}, {"suid", "nosuid"}, {"dev", "nodev"}, {"exec", "noexec"}, {"sync", "async"}, {"dirsync"},
		{"atime", "noatime"}, {"diratime", "nodiratime"}, {"relatime", "norelatime"}, {"strictatime", "nostrictatime"},
		{"mand", "nomand"}, {"defaults"}, {"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"},
	}
	for _, group := range groups {
		if slices.Contains(group, flag) {
			return group[0]
		}
	}
	return ""
}
