package ps

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"bothy/internal/shimapi"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func processes() []Process {
	return []Process{
		{Pid: 20, Info: &shimapi.Process{
			PPid: 10, PGid: 20, Session: 10, TTY: "pts/0", TPGid: 20, State: "R", Flags: 4194560, Name: "work", Args: "work hard", EUID: 33, UID: 33, User: "www", EUser: "www", Group: "www", EGroup: "www",
			Priority: 20, Threads: 2, CPU: 1, Elapsed: 100 * time.Second, UserTime: 40 * time.Second, SystemTime: 10 * time.Second, VirtualSize: 8 << 20, Resident: 4 << 20, MemoryPercent: 1.25,
		}},
		{Pid: 10, Info: &shimapi.Process{
			PPid: 1, PGid: 10, Session: 10, TPGid: -1, State: "S", Name: "sleep", Args: "sleep 1000", User: "root", EUser: "root", Group: "root", EGroup: "root",
			Priority: 10, Nice: -10, Threads: 1, Elapsed: 26 * time.Hour, UserTime: 90061 * time.Second,
		}},
		{Pid: 30},
		{Pid: 40, Info: &shimapi.Process{State: "Z", Name: "done", EUser: "0", Elapsed: 400 * 24 * time.Hour, Nice: 5}},
		{Pid: 50, Info: &shimapi.Process{State: "S", Name: "kthread", EUser: "0"}},
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		"": `UID|PID|PPID|C|STIME|TTY|TIME|CMD
root|10|1|96|Mar03|?|1-01:01:01|sleep 1000
www|20|10|50|11:58|pts/0|00:00:50|work hard
?|30|?|?|?|?|?|?
0|40|0|0|2025|?|00:00:00|[done] <defunct>
0|50|0|0|12:00|?|00:00:00|[kthread]`,
		"aux": `USER|PID|%CPU|%MEM|VSZ|RSS|TTY|STAT|START|TIME|COMMAND
root|10|96.2|0.0|0|0|?|S<s|Mar03|1501:01|sleep 1000
www|20|50.0|1.2|8192|4096|pts/0|Rl+|11:58|0:50|work hard
?|30|?|?|?|?|?|?|?|?|?
0|40|0.0|0.0|0|0|?|ZN|2025|0:00|[done] <defunct>
0|50|0.0|0.0|0|0|?|S|12:00|0:00|[kthread]`,
		"-eo pid,comm,etime,group=G": `PID|COMMAND|ELAPSED|G
10|sleep|1-02:00:00|root
20|work|01:40|www
30|?|?|?
40|done|400-00:00:00|
50|kthread|00:00|`,
		"o pid -o etimes --format=nlwp": `PID|ELAPSED|NLWP
10|93600|1
20|100|2
30|?|?
40|34560000|0
50|0|0`,
	} {
		f, err := ParseFormat(options)
		if err != nil {
			t.Errorf("%q: %v", options, err)
			continue
		}
		titles, lines := f.Table(processes(), noon)
		got := strings.Join(titles, "|")
		for _, l := range lines {
			got += "\n" + strings.Join(l, "|")
		}
		if got != want {
			t.Errorf("%q gave\n%s\nwant\n%s", options, got, want)
		}
	}
}

func TestLayouts(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		"-e": "PID TTY TIME CMD", "ax": "PID TTY STAT TIME COMMAND", "axj": "PPID PID PGID SID TTY TPGID STAT UID TIME COMMAND",
		"-eF": "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD", "-el": "F S UID PID PPID C PRI NI SZ TTY TIME CMD", "-ej": "PID PGID SID TTY TIME CMD",
		"-O rss": "PID RSS TTY TIME CMD", "l": "F UID PID PPID PRI NI VSZ RSS STAT TTY TIME COMMAND", "auxww": "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND",
	} {
		f, err := ParseFormat(options)
		if err != nil {
			t.Errorf("%q: %v", options, err)
			continue
		}
		if titles, _ := f.Table(nil, noon); strings.Join(titles, " ") != want {
			t.Errorf("%q: %q, want %q", options, titles, want)
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		"-L": "option", "--sort=pid": "option", "auxf": "option", "-o nonsense": "nonsense", "-o": "needs a list",
		"-o comm": "Couldn't find PID", "-o pid=X": "not allowed", "-p 1": "option", "1": "option",
	} {
		if _, err := ParseFormat(options); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", options, err, want)
		}
	}
}

// Every specifier shows something for every process.
func TestEverySpecifier(t *testing.T) {
	t.Parallel()
	for name := range specifiers() {
		f, err := ParseFormat("-o pid," + name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, lines := f.Table(processes()[:2], noon); slices.Contains(lines[0], "") {
			t.Errorf("%s: %q", name, lines[0])
		}
	}
}

func FuzzParseFormat(f *testing.F) {
	for _, s := range []string{"", "-ef", "aux", "-o pid,args=X Y", "--format", "o", "-\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, options string) {
		format, err := ParseFormat(options)
		if err != nil {
			return
		}
		titles, lines := format.Table(processes(), noon)
		for _, l := range lines {
			if len(l) != len(titles) {
				t.Errorf("%q: %d titles, %d cells", options, len(titles), len(l))
			}
		}
	})
}

// What a process, or its machine, says of itself does nothing to a terminal.
func TestTableIsText(t *testing.T) {
	t.Parallel()
	f, err := ParseFormat("-o pid,comm,args,user,s,tty")
	if err != nil {
		t.Fatal(err)
	}
	bad := "\x1b[2Jé\n\u0085\xff\u202e."
	_, lines := f.Table([]Process{{Pid: 1, Info: &shimapi.Process{Name: bad, Args: bad, EUser: bad, State: bad, TTY: bad}}}, noon)
	for _, cell := range lines[0][1:] {
		if cell != "?[2Jé????." {
			t.Errorf("%q", cell)
		}
	}
}
