package executor

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"bothy/internal/shimapi"
)

const someStat = `71 (a (b) c) S 1 71 70 34817 72 4194560 1 2 3 4 250 50 7 8 20 -5 3 0 1000 10485760 256 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0`

func TestParseStat(t *testing.T) {
	t.Parallel()
	p, start, err := parseStat(someStat, 4096)
	if err != nil {
		t.Fatal(err)
	}
	want := shimapi.Process{
		Name: "a (b) c", State: "S", PPid: 1, PGid: 71, Session: 70, TTY: "pts/1", TPGid: 72, Flags: 4194560,
		UserTime: 2500 * time.Millisecond, SystemTime: 500 * time.Millisecond, Priority: 20, Nice: -5, Threads: 3, CPU: 1,
		VirtualSize: 10 << 20, Resident: 1 << 20,
	}
	if *p != want || start != 10*time.Second {
		t.Errorf("got %+v, start %v\nwant %+v", *p, start, want)
	}
	for _, bad := range []string{"", "1 (x) S 1", "1 x S", ")(", strings.Replace(someStat, "250", "y", 1)} {
		if p, _, err := parseStat(bad, 4096); err == nil {
			t.Errorf("%q was read as %+v", bad, p)
		}
	}
}

func TestTerminalName(t *testing.T) {
	t.Parallel()
	for device, want := range map[int64]string{0: "", 34816: "pts/0", 34817: "pts/1", 1025: "tty1", 1088: "ttyS0", 1281: "console", 0x100300: "3:256"} {
		if got := terminalName(device); got != want {
			t.Errorf("%#x: %q, want %q", device, got, want)
		}
	}
}

func TestParseIDs(t *testing.T) {
	t.Parallel()
	var p shimapi.Process
	parseIDs("Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t\n", &p)
	if p.UID != 1 || p.EUID != 2 || p.GID != 5 || p.EGID != 6 {
		t.Errorf("got %+v", p)
	}
}

func TestJoinArgs(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{"sh\x00-c\x00a b\x00": "sh -c a b", "": "", "a\nb\xff\x00": "a?b?"} {
		if got := joinArgs([]byte(raw)); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}

func TestLookAtThisProcess(t *testing.T) {
	t.Parallel()
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Skip("needs sleep: ", err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	root := t.TempDir()
	if err := os.Mkdir(root+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	passwd := "me:x:" + strconv.Itoa(os.Getuid()) + ":0::/:/bin/sh\n"
	if err := os.WriteFile(root+"/etc/passwd", []byte(passwd), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := newProcessLook(root).at(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if p.PPid != os.Getpid() || p.EUser != "me" || p.Elapsed > time.Minute || p.Threads < 1 || p.Version != shimapi.Version {
		t.Errorf("got %+v", p)
	}
	if _, err := newProcessLook(root).at(1 << 30); err == nil {
		t.Error("a process was found that is not there")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add(someStat)
	f.Add("1 () ")
	f.Fuzz(func(t *testing.T, text string) {
		p, _, err := parseStat(text, 4096)
		if (p == nil) == (err == nil) {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	})
}

const someNetDev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    1000      10    1    2    0     0          0         0     2000      20    3    4    0     0       0          0
`

func TestParseNetDev(t *testing.T) {
	t.Parallel()
	got := parseNetDev(someNetDev)
	if len(got) != 1 || got[0].Name != "eth0" || got[0].RxBytes != 1000 || got[0].RxErrors != 1 || got[0].RxDropped != 2 || got[0].TxPackets != 20 || got[0].TxDropped != 4 {
		t.Errorf("got %+v", got)
	}
}

func FuzzParseNetDev(f *testing.F) {
	f.Add(someNetDev)
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range parseNetDev(text) {
			if s.Name == "lo" {
				t.Error("the loopback is counted")
			}
		}
	})
}
