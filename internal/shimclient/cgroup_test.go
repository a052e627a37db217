package shimclient

import (
	"slices"
	"testing"
)

func TestProcsFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		own  string
		want []string
	}{
		"v2": {"0::/system.slice/bothyd.service\n", []string{
			"/cg/system.slice/bothyd.service/cgroup.procs", "/cg/unified/system.slice/bothyd.service/cgroup.procs",
		}},
		"v1": {"9:name=systemd:/\n1:cpu,cpuacct:/a:b\n", []string{
			"/cg/systemd/cgroup.procs", "/cg/cpu,cpuacct/a:b/cgroup.procs",
		}},
		"outside": {"3:cpu:/../x\n2:pids\n\n", nil},
	} {
		if got := procsFiles("/cg", []byte(c.own)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
