package spec

import (
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestExec(t *testing.T) {
	t.Parallel()
	in := Input{
		ID: "c", Home: Process, Hostname: "box", Capabilities: AllCapabilities,
		Config: &container.Config{
			User: "app", WorkingDir: "/srv", Env: []string{"A=1", "B=2"}, Entrypoint: []string{"serve"}, Cmd: []string{"now"},
		},
		HostConfig: &container.HostConfig{CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"}, ConsoleSize: [2]uint{9, 9}},
	}
	p, err := Exec(in, &container.ExecCreateRequest{Cmd: []string{"ls", "-l"}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Args, []string{"ls", "-l"}) || p.Cwd != "/srv" || p.User.Username != "app" || p.Terminal || p.ConsoleSize != nil {
		t.Errorf("what the container has is not taken over: %+v", p)
	}
	if !p.NoNewPrivileges || len(p.Capabilities.Bounding) != 0 {
		t.Errorf("the container's confinement is not taken over: %+v, %+v", p.NoNewPrivileges, p.Capabilities)
	}
	if want := []string{"PATH=" + defaultPath, "HOSTNAME=box", "A=1", "B=2"}; !slices.Equal(p.Env, want) {
		t.Errorf("environment %q, want %q", p.Env, want)
	}

	p, err = Exec(in, &container.ExecCreateRequest{
		Cmd: []string{"sh"}, User: "0:0", WorkingDir: "/tmp", Env: []string{"A=3", "B", "C=4"}, Tty: true, Privileged: true, ConsoleSize: &[2]uint{24, 80},
	})
	if err != nil {
		t.Fatal(err)
	}
	if p.Cwd != "/tmp" || p.User.Username != "0:0" || !p.Terminal || p.ConsoleSize.Height != 24 || p.ConsoleSize.Width != 80 {
		t.Errorf("what the request has is not taken: %+v", p)
	}
	if len(p.Capabilities.Effective) != len(allCapabilities()) {
		t.Errorf("a privileged process has %d capabilities", len(p.Capabilities.Effective))
	}
	if want := []string{"PATH=" + defaultPath, "HOSTNAME=box", "TERM=xterm", "A=3", "C=4"}; !slices.Equal(p.Env, want) {
		t.Errorf("environment %q, want %q", p.Env, want)
	}
	if !slices.Equal(in.Config.Cmd, []string{"now"}) || in.HostConfig.Privileged {
		t.Error("the container's own settings were changed")
	}
	if _, err := Exec(in, &container.ExecCreateRequest{}); err == nil {
		t.Error("a process without a command was made")
	}
}
