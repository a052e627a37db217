package spec

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Merge completes a container's settings with its image's (nil: none), as
// docker does at creation, and returns a copy. A configuration that names no
// command in the end is ErrInvalidArgument.
func Merge(cfg *container.Config, img *dockerspec.DockerOCIImageConfig) (*container.Config, error) {
	merged := *cfg
	merged.Env = slices.Clone(cfg.Env)
	merged.Labels = maps.Clone(cfg.Labels)
	if img != nil {
		if err := mergeImage(&merged, img); err != nil {
			return nil, err
		}
	}
	if merged.Labels == nil {
		merged.Labels = map[string]string{}
	}
	if len(merged.Entrypoint) == 1 && merged.Entrypoint[0] == "" {
		merged.Entrypoint = nil // `--entrypoint ""` takes the image's away
	}
	if len(merged.Entrypoint) == 0 && len(merged.Cmd) == 0 {
		return nil, invalidf("no command specified: the image names none, so put one after the image's name")
	}
	return &merged, nil
}

func mergeImage(cfg *container.Config, img *dockerspec.DockerOCIImageConfig) error {
	cfg.User = cmp.Or(cfg.User, img.User)
	cfg.WorkingDir = cmp.Or(cfg.WorkingDir, img.WorkingDir)
	cfg.StopSignal = cmp.Or(cfg.StopSignal, img.StopSignal)
	cfg.Env = mergeEnv(cfg.Env, img.Env)
	cfg.Labels = mergeMap(cfg.Labels, img.Labels)
	cfg.Volumes = mergeMap(cfg.Volumes, img.Volumes)
	cfg.Healthcheck = mergeHealthcheck(cfg.Healthcheck, img.Healthcheck)
	if len(cfg.Shell) == 0 {
		cfg.Shell = img.Shell
	}
	if cfg.OnBuild == nil {
		cfg.OnBuild = img.OnBuild
	}
	mergeCommand(cfg, img)
	return mergePorts(cfg, img)
}

// mergeCommand: an entrypoint given at creation (be it empty) replaces the
// image's, and then the image's command does not count either.
func mergeCommand(cfg *container.Config, img *dockerspec.DockerOCIImageConfig) {
	if len(cfg.Entrypoint) > 0 {
		return
	}
	if len(cfg.Cmd) == 0 {
		cfg.Cmd = img.Cmd
	}
	if cfg.Entrypoint == nil {
		cfg.Entrypoint = img.Entrypoint
	}
}

// mergeEnv appends the image's variables that the user did not set.
func mergeEnv(user, image []string) []string {
	set := map[string]bool{}
	for _, kv := range user {
		key, _, _ := strings.Cut(kv, "=")
		set[key] = true
	}
	for _, kv := range image {
		if key, _, _ := strings.Cut(kv, "="); !set[key] {
			user = append(user, kv)
		}
	}
	return user
}

func mergePorts(cfg *container.Config, img *dockerspec.DockerOCIImageConfig) error {
	if len(img.ExposedPorts) == 0 {
		return nil
	}
	ports := network.PortSet{}
	maps.Copy(ports, cfg.ExposedPorts)
	for text := range img.ExposedPorts {
		span, err := network.ParsePortRange(text)
		if err != nil {
			return invalidf("reading the image's exposed port %q: %v", text, err)
		}
		for port := range span.All() {
			ports[port] = struct{}{}
		}
	}
	cfg.ExposedPorts = ports
	return nil
}

func mergeHealthcheck(user, image *dockerspec.HealthcheckConfig) *dockerspec.HealthcheckConfig {
	if user == nil || image == nil {
		if user == nil {
			return image
		}
		return user
	}
	merged := *user
	if len(merged.Test) == 0 {
		merged.Test = image.Test
	}
	merged.Interval = cmp.Or(merged.Interval, image.Interval)
	merged.Timeout = cmp.Or(merged.Timeout, image.Timeout)
	merged.StartPeriod = cmp.Or(merged.StartPeriod, image.StartPeriod)
	merged.StartInterval = cmp.Or(merged.StartInterval, image.StartInterval)
	merged.Retries = cmp.Or(merged.Retries, image.Retries)
	return &merged
}

// mergeMap gives user's entries and those of image that user has not.
func mergeMap[V any](user, image map[string]V) map[string]V {
	if len(image) == 0 {
		return user
	}
	merged := maps.Clone(image)
	maps.Copy(merged, user)
	return merged
}
