package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func hostKernel(t *testing.T) string {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(name.Release[:])
}

func TestSameImageWithEitherCLI(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		for _, cli := range []string{"bothy", "docker"} {
			r := e.run(t, "", cli, "run", "--rm", "--isolation", home, "debian:bookworm", "cat", "/etc/os-release")
			if r.status != 0 || !strings.Contains(r.stdout, "VERSION_CODENAME=bookworm") {
				t.Errorf("%s: status %d, stdout %q, stderr %q", cli, r.status, r.stdout, r.stderr)
			}
		}
	})
}

func TestKernelIsTheHomes(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		got := e.bothy(t, "run", "--rm", "--isolation", home, "busybox", "uname", "-r")
		if own := got != hostKernel(t); own != (home == "vm") {
			t.Errorf("the kernel inside is %s, the host's %s", got, hostKernel(t))
		}
	})
}

func TestExitStatus(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		cases := []struct {
			name string
			args []string
			want int
		}{
			{"the program's own", []string{"busybox", "sh", "-c", "exit 42"}, 42},
			{"killed by a signal", []string{"busybox", "sh", "-c", "sh -c 'kill -TERM $$'; exit $?"}, 143},
			{"no such command", []string{"busybox", "no-such-command"}, 127},
			{"not executable", []string{"busybox", "/etc/passwd"}, 126},
			{"a directory", []string{"busybox", "/etc"}, 126},
			{"an empty word", []string{"busybox", ""}, 127},
			{"a bad option", []string{"--memory", "1", "busybox", "true"}, 125},
		}
		for _, c := range cases {
			if r := e.run(t, "", "bothy", append([]string{"run", "--rm", "--isolation", home}, c.args...)...); r.status != c.want {
				t.Errorf("%s: status %d, want %d; stderr %q", c.name, r.status, c.want, r.stderr)
			}
		}
	})
}

func TestStdinAndItsEnd(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
		for _, in := range []string{"hello\n", "", big} {
			r := e.run(t, in, "bothy", "run", "--rm", "-i", "--isolation", home, "busybox", "cat")
			if r.status != 0 || r.stdout != in {
				t.Errorf("cat of %d bytes gave %d, status %d, stderr %q", len(in), len(r.stdout), r.status, r.stderr)
			}
		}
	})
}

// Output that flows for seconds arrives whole, also while a shim gives memory
// back meanwhile.
func TestMuchOutputArrives(t *testing.T) {
	const size = 100 << 20
	t.Parallel()
	e := theEngine(t)
	r := e.run(t, "", "bothy", "run", "--rm", "--network", "none", "busybox", "sh", "-c", fmt.Sprintf("yes 0123456789abcdef | head -c %d; sleep 1; echo end", size))
	if r.status != 0 || len(r.stdout) != size+len("end\n") || !strings.HasSuffix(r.stdout, "end\n") {
		t.Errorf("%d bytes arrived, status %d, stderr %q", len(r.stdout), r.status, r.stderr)
	}
}

// Programs know by docker's mark that they are in a container.
func TestMarkOfAContainer(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		if r := e.run(t, "", "bothy", "run", "--rm", "--read-only", "--isolation", home, "busybox", "test", "-f", "/.dockerenv"); r.status != 0 {
			t.Errorf("status %d, stderr %q", r.status, r.stderr)
		}
	})
}

func TestStdoutAndStderrStayApart(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		r := e.run(t, "", "bothy", "run", "--rm", "--isolation", home, "busybox", "sh", "-c", "echo out; echo err >&2")
		if r.stdout != "out\n" || r.stderr != "err\n" {
			t.Errorf("stdout %q, stderr %q", r.stdout, r.stderr)
		}
	})
}

func TestOutputBeforeAnImmediateExitArrivesWhole(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		r := e.run(t, "", "bothy", "run", "--rm", "--isolation", home, "busybox", "sh", "-c", "dd if=/dev/zero bs=1024 count=1024 2>/dev/null; exit 7")
		if len(r.stdout) != 1<<20 || r.status != 7 {
			t.Errorf("%d bytes, status %d, stderr %q", len(r.stdout), r.status, r.stderr)
		}
	})
}

// settings is one program that prints what all the options of one command
// line came to, a line each.
const settings = `
echo A=$A
pwd
id -u; id -g
hostname
touch /x 2>/dev/null && echo writable || echo read-only
touch /scratch/x && echo scratch
ulimit -n
grep CapEff /proc/self/status
grep Seccomp: /proc/self/status
if [ -f /sys/fs/cgroup/memory.max ]; then cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; cat /sys/fs/cgroup/cpu.max
else cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max; echo $(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us) $(cat /sys/fs/cgroup/cpu/cpu.cfs_period_us); fi
`

func TestSettings(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		got := e.bothy(t, "run", "--rm", "--isolation", home, "--memory", "128m", "--cpus", "0.5", "--pids-limit", "64", "-e", "A=1", "-w", "/tmp",
			"-u", "1000:1000", "--hostname", "h", "--read-only", "--tmpfs", "/scratch", "--cap-drop", "ALL", "--ulimit", "nofile=99", "busybox", "sh", "-c", settings)
		want := "A=1\n/tmp\n1000\n1000\nh\nread-only\nscratch\n99\nCapEff:\t0000000000000000\nSeccomp:\t2\n134217728\n64\n50000 100000"
		if got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestMemoryLimitKills(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := "oom-" + home
		e.removeLater(t, name)
		r := e.run(t, "", "bothy", "run", "--name", name, "--isolation", home, "--memory", "32m", "busybox", "sh", "-c", "exec tail /dev/zero")
		if r.status != 137 {
			t.Errorf("status %d, want 137; stderr %q", r.status, r.stderr)
		}
		if got := e.bothy(t, "inspect", "-f", "{{.State.OOMKilled}}", name); got != "true" {
			t.Errorf("OOMKilled is %s", got)
		}
	})
}

var defaultCaps = regexp.MustCompile(`CapBnd:\s*00000000a80425fb`)

func TestDockersDefaults(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		got := e.bothy(t, "run", "--rm", "--isolation", home, "busybox", "sh", "-c", `
			grep -E 'CapBnd|Seccomp:|NoNewPrivs' /proc/self/status; cat /proc/1/cmdline | tr '\0' ' ' | cut -c1-5; wc -c </proc/kcore; cat /proc/timer_list | wc -c
			echo x >/proc/sys/kernel/hostname || echo ro; df -k /dev/shm | tail -1 | awk '{print $2}'; echo $PATH $HOME; ls /dev | tr '\n' ' '`)
		for _, want := range []*regexp.Regexp{defaultCaps, regexp.MustCompile(`Seccomp:\s*2`), regexp.MustCompile(`(?m)^sh -c$`), regexp.MustCompile(`(?m)^ro$`), regexp.MustCompile(`(?m)^65536$`),
			regexp.MustCompile(`/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /root`), regexp.MustCompile(`fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero`)} {
			if !want.MatchString(got) {
				t.Errorf("no match for %v in:\n%s", want, got)
			}
		}
	})
}

func TestOutsideIsReachedThroughNAT(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		got := e.bothy(t, "run", "--rm", "--isolation", home, "busybox", "wget", "-q", "-O", "-", "http://"+outsideAddress+"/")
		if want := fmt.Sprintf("%s, %s", outsideAnswer, hostAddress); got != want {
			t.Errorf("the machine outside answered %q, want %q", got, want)
		}
	})
}

func TestNetworkFiles(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		got := e.bothy(t, "run", "--rm", "--isolation", home, "--hostname", "box", "--dns", "192.0.2.53", "--add-host", "db:192.0.2.7", "busybox", "sh", "-c", "hostname; cat /etc/hostname /etc/resolv.conf /etc/hosts; ip -4 addr show eth0")
		for _, want := range []string{"box\nbox\n", "nameserver 192.0.2.53", "192.0.2.7\tdb", "\tbox", "inet 172."} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in:\n%s", want, got)
			}
		}
	})
}

func TestNetworkNone(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		got := e.bothy(t, "run", "--rm", "--isolation", home, "--network", "none", "busybox", "sh", "-c", "ls /sys/class/net; ip addr show lo | grep -c 127.0.0.1")
		if got != "lo\n1" {
			t.Errorf("interfaces and loopback: %q", got)
		}
	})
}

func TestNetworkHost(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	got := e.bothy(t, "run", "--rm", "--network", "host", "busybox", "ls", "/sys/class/net")
	if !strings.Contains(got, "host0") {
		t.Errorf("the host's interfaces are not seen: %q", got)
	}
	r := e.run(t, "", "bothy", "run", "--rm", "--isolation", "vm", "--network", "host", "busybox", "true")
	if r.status != 125 || !strings.Contains(r.stderr, "network") {
		t.Errorf("a VM on the host's network: status %d, stderr %q", r.status, r.stderr)
	}
}

func TestContainerAndVMReachEachOther(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	for i, home := range homes {
		name := "server-" + home
		e.removeLater(t, name)
		e.bothy(t, "run", "-d", "--name", name, "--isolation", home, "busybox", "sh", "-c", "mkdir /www; echo from "+home+" >/www/index.html; exec httpd -f -h /www")
		address := e.bothy(t, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)
		got := e.bothy(t, "run", "--rm", "--isolation", homes[1-i], "busybox", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - http://"+address+"/ && exit; sleep 1; done")
		if got != "from "+home {
			t.Errorf("from the other home, %s answered %q", name, got)
		}
	}
}

func TestWritesStayInTheirContainer(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := "writer-" + home
		e.removeLater(t, name)
		e.bothy(t, "run", "--name", name, "--isolation", home, "busybox", "sh", "-c", "test ! -e /mark && echo x >/mark && rm /bin/wget && sync")
		if got := e.bothy(t, "run", "--rm", "--isolation", home, "busybox", "sh", "-c", "ls /mark 2>/dev/null; ls /bin/wget"); got != "/bin/wget" {
			t.Errorf("another container of the image sees %q", got)
		}
		if r := e.run(t, "", "bothy", "start", "-a", name); r.status == 0 {
			t.Errorf("the container's second run does not find what its first one wrote")
		}
	})
}
