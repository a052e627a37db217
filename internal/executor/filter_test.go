package executor_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"bothy/internal/executortest"
)

// The first container's filter is kept and serves the second, which must not
// notice: neither by what it may call nor by an open file, and whatever its
// limits are.
func TestKeptFilter(t *testing.T) {
	f := newFixture(t)
	script := `sethostname() { hostname other 2>/dev/null; }
sethostname && echo allowed; ls /proc/$$/fd; grep ^Seccomp: /proc/self/status`
	var outputs []string
	for _, id := range []string{"compiles", "finds"} {
		spec := executortest.DefaultSpec()
		spec.Process.Args = []string{"/bin/sh", "-c", script}
		spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_FSIZE"}}
		spec.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow,
			Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86},
			Syscalls:      []specs.LinuxSyscall{{Names: []string{"sethostname", "swapon"}, Action: specs.ActErrno}},
		}
		r := f.prepare(t, id, spec)
		st := f.stdio(false)
		r.Stdout = st.Stdout
		out := readAll(st.Out)
		f.start(t, r)
		if got := f.wait(t, id); got != 0 {
			t.Errorf("%s: exit status %d", id, got)
		}
		outputs = append(outputs, <-out)
		if kept, err := filepath.Glob(filepath.Join(f.dir, "filters", "*")); err != nil || len(kept) != 1 {
			t.Errorf("after %s there are the records %v, %v", id, kept, err)
		}
	}
	const want = "0\n1\n2\nSeccomp:\t2\n"
	if outputs[0] != want || outputs[1] != want {
		t.Errorf("outputs %q, want %q", outputs, want)
	}
}

// A directory of filters that cannot be had costs time, no more.
func TestFiltersGone(t *testing.T) {
	f := newFixture(t)
	if err := os.Remove(filepath.Join(f.dir, "filters")); err != nil {
		t.Fatal(err)
	}
	spec := executortest.DefaultSpec()
	spec.Process.Args = []string{"/bin/true"}
	spec.Linux.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Syscalls:      []specs.LinuxSyscall{{Names: []string{"swapon"}, Action: specs.ActErrno}},
	}
	f.start(t, f.prepare(t, "gone", spec))
	if got := f.wait(t, "gone"); got != 0 {
		t.Errorf("exit status %d", got)
	}
}
