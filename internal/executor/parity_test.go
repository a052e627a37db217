package executor_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"

	"bothy/internal/executor"
	"bothy/internal/executortest"
)

// looks are what a process can see of its walls.
const looks = `
grep -v -i -e vm -e rss -e ctxt -e pid -e tgid -e sigq /proc/self/status
echo limits; cat /proc/self/limits
echo mounts; cut -d' ' -f4- /proc/self/mountinfo
echo cgroup; cat /proc/self/cgroup /proc/self/oom_score_adj /proc/self/personality 2>&1
echo stat; cut -d' ' -f4-9 /proc/1/stat; cut -d' ' -f18-19,40-41 /proc/1/stat
echo files; ls -ln /proc/1/fd >/tmp/fds; sed 's/.* -> //; s/[0-9]*//g' /tmp/fds; stat -L -c '%u %g %a %F' /proc/1/fd/0 /proc/1/fd/1 /proc/1/fd/2
echo self; id; pwd; env | sort; hostname; umask; readlink /proc/1/root /proc/1/cwd /proc/1/exe; cat /proc/1/comm
echo nodes; stat -c '%n %u %g %a %F %t %T' / /proc /sys /dev /dev/* /dev/pts/* /dev/shm /etc /etc/* | sort
echo masks; for f in kcore keys sched_debug; do head -c 4 /proc/$f 2>&1 | od -c | head -2; done; ls /sys/firmware 2>&1
echo denied; mount -t tmpfs x /tmp 2>&1; mknod /tmp/sda b 8 0 2>&1; echo 1 2>&1 >/proc/sys/kernel/pid_max; dmesg 2>&1 | head -1; umount /proc 2>&1; touch /sys/x 2>&1; hostname x 2>&1
echo fs; touch /made && stat -c '%u %g %a' /made; readlink /dev/fd /dev/ptmx /dev/stdin; cat /bound 2>&1; touch /bound 2>&1
for n in /sys/fs/cgroup/*.max /sys/fs/cgroup/cgroup.controllers; do echo $n; cat $n 2>&1; done
find / -xdev -path /bin -prune -o -print 2>/dev/null | sort
`

// TestParityOfZygotes compares what containers made of a zygote see with what
// those see that are made as a whole.
func TestParityOfZygotes(t *testing.T) {
	needRoot(t)
	program := waiterProgram(t)
	for name, change := range map[string]func(*specs.Spec){
		"default": func(*specs.Spec) {},
		"user": func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1000, GID: 50, AdditionalGids: []uint32{44, 7}}
			s.Process.Cwd, s.Hostname = "/made/for/it", "other"
			s.Process.Env = append(s.Process.Env, "A=1", "A=2", "HOME=")
		},
		"named user": func(s *specs.Spec) { s.Process.User = specs.User{Username: "alice"} },
		"limits": func(s *specs.Spec) {
			memory, pids, quota, period := int64(64<<20), int64(50), int64(50000), uint64(100000)
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &memory}
			s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids}
			s.Linux.Resources.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}, {Type: "RLIMIT_CORE"}}
		},
		"devices": func(s *specs.Spec) {
			major, minor := int64(1), int64(3)
			s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{
				{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rwm"},
			}
		},
	} {
		t.Run(name, func(t *testing.T) { sameInBoth(t, program, change) })
	}
}

// sameInBoth looks from a container of each kind.
func sameInBoth(t *testing.T, program string, change func(*specs.Spec)) {
	var moved int
	f := newFixtureWith(t, func(o *executor.Options) {
		o.Waiter = program
		o.Trace = func(phase string) {
			if phase == executor.PhaseMovedIn {
				moved++
			}
		}
	})
	bound := filepath.Join(t.TempDir(), "bound")
	if err := os.WriteFile(bound, []byte("bound\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	whole := look(t, f, "whole", bound, change)
	if err := f.service.Prepare(""); err != nil {
		t.Fatal(err)
	}
	ahead := look(t, f, "ahead", bound, change)
	if moved != 1 {
		t.Fatalf("%d containers were made of a zygote", moved)
	}
	if len(whole) < 100 {
		t.Errorf("too little to be seen: %q", whole)
	}
	if !slices.Equal(whole, ahead) {
		t.Errorf("made as a whole, and of a zygote:\n%s", difference(whole, ahead))
	}
}

// look runs a container and returns what it and the host see, without what is
// different in any two.
func look(t *testing.T, f *fixture, id, bound string, change func(*specs.Spec)) []string {
	t.Helper()
	ctx := context.Background()
	spec := executortest.DefaultSpec()
	spec.Process.Args = []string{"/bin/sh", "-c", looks}
	spec.Linux.Seccomp = &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64},
		Syscalls: []specs.LinuxSyscall{{Names: []string{"keyctl"}, Action: specs.ActErrno}},
	}
	for _, target := range []string{"/bound", "/etc/made/hosts"} {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: target, Type: "bind", Source: bound, Options: []string{"rbind", "rprivate", "ro"}})
	}
	change(spec)
	r := f.prepare(t, id, spec)
	st := f.stdio(false)
	r.Stdout, r.Stderr = st.Stdout, st.Stderr
	out, errs := readAll(st.Out), readAll(st.Err)
	if _, err := f.service.Create(ctx, r); err != nil {
		t.Fatal(err)
	}
	host := cgroupFiles(t, id)
	if _, err := f.service.Start(ctx, &taskapi.StartRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.service.Wait(ctx, &taskapi.WaitRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.service.Delete(ctx, &taskapi.DeleteRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	text := <-out + "errors\n" + <-errs + host
	for _, r := range []struct{ pattern, by string }{
		{regexp.QuoteMeta(id), "ID"},
		{`zygote-\d+`, "ID"},
		{`(upperdir|workdir|lowerdir)=[^, ]*`, "$1"},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.by)
	}
	lines := strings.Split(text, "\n")
	slices.Sort(lines) // mounts come in another order
	return lines
}

// cgroupFiles reads the limits of a created container's cgroup, in whichever
// version the host has.
func cgroupFiles(t *testing.T, id string) string {
	t.Helper()
	var text strings.Builder
	for _, base := range []string{cgroupPath(id), filepath.Join(testCgroup(os.Getpid()), "zygote-1")} {
		for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			for _, name := range []string{
				"memory.max", "pids.max", "cpu.max", "memory.limit_in_bytes", "devices.list", "cpu.cfs_quota_us", "cpuset.cpus", "cgroup.procs",
			} {
				found, err := filepath.Glob(filepath.Join(pattern+base, name))
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range found {
					data, err := os.ReadFile(path)
					if name == "cgroup.procs" {
						data = fmt.Append(nil, len(strings.Fields(string(data))))
					}
					fmt.Fprintf(&text, "%s: %s %v\n", strings.TrimSuffix(path, base+"/"+name)+" "+name, data, err)
				}
			}
		}
	}
	return text.String()
}

// difference lists the lines that are in one only, or more often there.
func difference(a, b []string) string {
	count := map[string]int{}
	for _, line := range a {
		count[line]++
	}
	for _, line := range b {
		count[line]--
	}
	var text strings.Builder
	for line, n := range count {
		if n != 0 {
			fmt.Fprintf(&text, "%+d %s\n", -n, line)
		}
	}
	return text.String()
}
