package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// plugin is docker's plugin protocol, and else prints what it was given.
const plugin = `#!/bin/sh
if [ "$1" = docker-cli-plugin-metadata ]; then
	echo '{"SchemaVersion":"0.1.0","Vendor":"test","Version":"v1","ShortDescription":"A plugin"}'
	exit
fi
echo "$DOCKER_HOST $BUILDX_BUILDER: $@" >"$0.out"
exit 7
`

// installPlugin puts a plugin where every session of this test looks, and
// returns the file that it writes.
func installPlugin(t *testing.T, name string) string {
	t.Helper()
	home := t.TempDir()
	dir := filepath.Join(home, "cli-plugins")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "docker-"+name)
	if err := os.WriteFile(path, []byte(plugin), 0o755); err != nil {
		t.Fatal(err)
	}
	config := `{"cliPluginsExtraDirs": ["` + dir + `"]}`
	if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_DOCKER_CONFIG", home)
	return path + ".out"
}

func TestPlugins(t *testing.T) {
	for _, c := range []struct {
		plugin string
		args   []string
		want   string
	}{
		{"thing", []string{"thing", "up", "-d"}, ": thing up -d"},
		{"buildx", []string{"build", "-t", "x", "."}, "default: buildx build -t x ."},
		{"buildx", []string{"image", "build", "."}, "default: buildx build ."},
		{"buildx", []string{"build", "--builder=b", "."}, ": buildx build --builder=b ."},
		{"buildx", []string{"bake"}, "default: buildx bake"},
	} {
		out := installPlugin(t, c.plugin)
		st, _, dir := newFixture(t, "serves")
		printed, err := run(t, st, append([]string{"--config", os.Getenv("TEST_DOCKER_CONFIG")}, c.args...)...)
		if exitStatus(err) != 7 {
			t.Errorf("%q: got %v, printed %s", c.args, err, printed)
			continue
		}
		got, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		want := DefaultHost + " " + strings.Replace(c.want, ": ", ": --config "+os.Getenv("TEST_DOCKER_CONFIG")+" ", 1) + "\n"
		if string(got) != want {
			t.Errorf("%q: the plugin got %q, want %q", c.args, got, want)
		}
		if len(starts(t, dir)) != 1 {
			t.Errorf("%q: %d engines were started", c.args, len(starts(t, dir)))
		}
	}
}

// TestPluginIsInHelp needs a process: docker's library looks for plugins to list
// only once.
func TestPluginIsInHelp(t *testing.T) {
	installPlugin(t, "thing")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "bothy")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, "--config", os.Getenv("TEST_DOCKER_CONFIG"), "--help")
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix:///absent.sock")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "thing*") || strings.Contains(string(out), "bake") {
		t.Errorf("%v, printed:\n%s", err, out)
	}
}

func TestBakeNeedsBuildx(t *testing.T) {
	st, _, _ := newFixture(t, "serves")
	out, err := run(t, st, "bake")
	if exitStatus(err) != 1 || !strings.Contains(out, "bothy bake needs the plugin buildx") {
		t.Errorf("%v, printed %q", err, out)
	}
}
