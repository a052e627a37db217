package executortest

import (
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var securityCases = map[string]func(*testing.T, *env){
	"Capabilities":    testCapabilities,
	"Seccomp":         testSeccomp,
	"NoNewPrivileges": testNoNewPrivileges,
	"Rlimits":         testRlimits,
	"ReadonlyRootfs":  testReadonlyRootfs,
	"MaskedPaths":     testMaskedPaths,
	"ReadonlyPaths":   testReadonlyPaths,
	"Devices":         testDevices,
	"Namespaces":      testNamespaces,
}

// statusField reads a line of the process's own /proc status.
func statusField(e *env, field string, changes ...change) string {
	e.t.Helper()
	changes = append(changes, command("sed", "-n", `s/^`+field+`:[[:space:]]*//p`, "/proc/self/status"))
	return e.output(changes...)
}

func testCapabilities(t *testing.T, e *env) {
	if got, want := statusField(e, "CapEff"), "00000000a80425fb"; got != want {
		t.Errorf("default capabilities %s, want %s", got, want)
	}
	none := func(s *specs.Spec) { s.Process.Capabilities = &specs.LinuxCapabilities{} }
	if got, want := statusField(e, "CapBnd", none), "0000000000000000"; got != want {
		t.Errorf("no capabilities: %s, want %s", got, want)
	}
}

func testSeccomp(t *testing.T, e *env) {
	filter := func(s *specs.Spec) {
		s.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow,
			Architectures: []specs.Arch{specs.ArchX86_64},
			Syscalls: []specs.LinuxSyscall{{
				Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno,
			}},
		}
	}
	if k, err := e.tryCreate(filter); err != nil && strings.Contains(err.Error(), "seccomp not supported") {
		t.Skip("the service was built without the tag seccomp: ", err)
	} else if err == nil {
		k.delete()
	}
	if got := statusField(e, "Seccomp", filter); got != "2" {
		t.Errorf("seccomp mode %s, want 2", got)
	}
	got := e.output(filter, script("mkdir /tmp/x 2>&1 || ls -d /tmp/x 2>/dev/null || true"))
	if !strings.Contains(got, "Operation not permitted") {
		t.Errorf("a forbidden mkdir said %q", got)
	}
}

func testNoNewPrivileges(t *testing.T, e *env) {
	for want, set := range map[string]bool{"0": false, "1": true} {
		got := statusField(e, "NoNewPrivs", func(s *specs.Spec) { s.Process.NoNewPrivileges = set })
		if got != want {
			t.Errorf("NoNewPrivs %s, want %s", got, want)
		}
	}
}

func testRlimits(t *testing.T, e *env) {
	got := e.output(script("ulimit -n; ulimit -Hn"), func(s *specs.Spec) {
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 99, Hard: 199}}
	})
	if got != "99\n199" {
		t.Errorf("limits %q, want 99 and 199", got)
	}
}

func testReadonlyRootfs(t *testing.T, e *env) {
	got := e.output(script("touch /x 2>&1; touch /dev/shm/x && echo tmpfs"), func(s *specs.Spec) { s.Root.Readonly = true })
	if !strings.Contains(got, "Read-only file system") || !strings.HasSuffix(got, "tmpfs") {
		t.Errorf("touch in a read-only root said %q", got)
	}
}

func testMaskedPaths(t *testing.T, e *env) {
	if got := e.output(script("cat /proc/kcore | wc -c; ls /sys/firmware | wc -l")); got != "0\n0" {
		t.Errorf("masked paths have contents: %q", got)
	}
}

func testReadonlyPaths(t *testing.T, e *env) {
	got := e.output(script("echo 1 > /proc/sys/kernel/domainname; true; cat /proc/sys/kernel/ostype"))
	if got != "Linux" {
		t.Errorf("output %q", got)
	}
	k := e.run(script("echo x > /proc/sys/kernel/domainname"))
	if k.wait() == 0 {
		t.Error("a read-only path was written")
	}
}

func testDevices(t *testing.T, e *env) {
	got := e.output(script("echo x > /dev/null && head -c 3 /dev/zero | wc -c; mknod /tmp/d b 7 0 && cat /tmp/d 2>&1; true"))
	if !strings.HasPrefix(got, "3\n") || !strings.Contains(got, "Operation not permitted") {
		t.Errorf("devices: %q", got)
	}
}

func testNamespaces(t *testing.T, e *env) {
	if got := e.output(script("echo $$; ls /sys/class/net; cat /proc/1/comm; true")); got != "1\nlo\nsh" {
		t.Errorf("pid, interfaces, first process: %q", got)
	}
}
