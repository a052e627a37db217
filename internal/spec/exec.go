package spec

import (
	"fmt"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Exec makes a further process of the container that in describes: its
// settings are the container's where req does not say otherwise. Of in, it
// reads Home, Config, HostConfig, Hostname and Capabilities.
func Exec(in Input, req *container.ExecCreateRequest) (*specs.Process, error) {
	if in.Config == nil || in.HostConfig == nil || req == nil {
		return nil, invalidf("making a process of container %s: no configuration", in.ID)
	}
	if err := in.setCapabilities(); err != nil {
		return nil, fmt.Errorf("making a process of container %s: %w", in.ID, err)
	}
	cfg, hc := *in.Config, *in.HostConfig
	cfg.Tty, cfg.Entrypoint, cfg.Cmd = req.Tty, nil, req.Cmd
	if req.User != "" {
		cfg.User = req.User
	}
	if req.WorkingDir != "" {
		cfg.WorkingDir = req.WorkingDir
	}
	hc.Privileged = hc.Privileged || req.Privileged
	hc.ConsoleSize = [2]uint{}
	if req.ConsoleSize != nil {
		hc.ConsoleSize = *req.ConsoleSize
	}
	in.Config, in.HostConfig = &cfg, &hc
	s := &specs.Spec{Linux: &specs.Linux{}}
	for _, step := range []func(Input, *specs.Spec) error{process, security} {
		if err := step(in, s); err != nil {
			return nil, fmt.Errorf("making a process of container %s: %w", in.ID, err)
		}
	}
	s.Process.Env = ReplaceEnv(s.Process.Env, req.Env)
	return s.Process, nil
}
