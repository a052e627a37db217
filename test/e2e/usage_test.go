package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// top speaks of the container's processes, wherever they run.
func TestTop(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := e.sleeper(t, "top", home)
		e.bothy(t, "exec", "-d", "-u", "1000", name, "sleep", "2000")
		for deadline := time.Now().Add(patience); strings.Contains(e.bothy(t, "top", name), ":INIT]"); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the command in the container does not become its program")
			}
		}
		for options, want := range map[string]string{
			"":                      "UID PID PPID C STIME TTY TIME CMD",
			"aux":                   "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND",
			"-o pid,user,comm,args": "PID USER COMMAND COMMAND",
		} {
			lines := strings.Split(e.bothy(t, append([]string{"top", name}, strings.Fields(options)...)...), "\n")
			if got := strings.Join(strings.Fields(lines[0]), " "); got != want {
				t.Errorf("%q: titles %q, want %q", options, got, want)
			}
			if len(lines) != 3 || !strings.Contains(lines[1], "root") || !strings.Contains(lines[1], "sleep 1000") ||
				!strings.Contains(lines[2], "1000") || !strings.Contains(lines[2], "sleep 2000") {
				t.Errorf("%q: %q", options, lines)
			}
		}
		if r := e.run(t, "", "bothy", "top", name, "-o", "comm"); r.status == 0 || !strings.Contains(r.stderr, "Couldn't find PID") {
			t.Errorf("without PIDs: status %d, stderr %q", r.status, r.stderr)
		}
	})
}

func TestStats(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := e.sleeper(t, "stats", home, "--memory", "64m", "--pids-limit", "50")
		e.bothy(t, "exec", "-d", name, "sh", "-c", "while :; do :; done")
		address := e.bothy(t, "inspect", "-f", "{{.NetworkSettings.Gateway}}", name)
		e.bothy(t, "exec", name, "sh", "-c", "ping -c 1 "+address+" >/dev/null; true")
		got := e.bothy(t, "stats", "--no-stream", "--format", "{{json .}}", name)
		var s struct{ Name, CPUPerc, MemUsage, MemPerc, NetIO, BlockIO, PIDs string }
		if err := json.Unmarshal([]byte(got), &s); err != nil {
			t.Fatalf("%v: %s", err, got)
		}
		if cpu, err := strconv.ParseFloat(strings.TrimSuffix(s.CPUPerc, "%"), 64); err != nil || cpu < 1 || cpu > 150 {
			t.Errorf("a busy loop takes %s of a processor", s.CPUPerc)
		}
		if !strings.HasSuffix(s.MemUsage, "/ 64MiB") || strings.HasPrefix(s.MemUsage, "0B") || s.PIDs != "2" || s.Name != name {
			t.Errorf("got %+v", s)
		}
		if _, sent, ok := strings.Cut(s.NetIO, " / "); !ok || sent == "0B" {
			t.Errorf("the network: %q", s.NetIO)
		}
		e.bothy(t, "kill", name)
		if got := e.bothy(t, "stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", name); !strings.HasPrefix(got, "0 0B") && !strings.HasPrefix(got, "-- --") {
			t.Errorf("one that has ended uses %q", got)
		}
	})
}

// unixClient makes HTTP requests of an engine.
func (e *engine) unixClient(t *testing.T) *http.Client {
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", e.socket)
	}}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// A stream goes on while the container stops and starts again.
func TestStatsStream(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	name := e.sleeper(t, "stream", "process")
	resp, err := e.unixClient(t).Get("http://bothy/containers/" + name + "/stats")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	samples := json.NewDecoder(resp.Body)
	next := func(want uint64) {
		t.Helper()
		for {
			var s struct {
				PidsStats struct{ Current uint64 } `json:"pids_stats"`
			}
			if err := samples.Decode(&s); err != nil {
				t.Fatal(err)
			}
			if s.PidsStats.Current == want {
				return
			}
		}
	}
	next(1)
	e.bothy(t, "kill", name)
	next(0)
	e.bothy(t, "start", name)
	next(1)
	e.bothy(t, "rm", "-f", name)
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("the end of the stream: %v", err)
	}
}

func TestAttachByWebsocket(t *testing.T) {
	inBothHomes(t, func(t *testing.T, e *engine, home string) {
		name := "socket-" + home
		e.removeLater(t, name)
		e.bothy(t, "run", "-d", "-i", "--name", name, "--isolation", home, "busybox", "sh", "-c", "echo ready; read x; echo got $x; echo late >&2")
		raw, err := net.Dial("unix", e.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(patience))
		config, err := websocket.NewConfig("ws://bothy/v1.41/containers/"+name+"/attach/ws?logs=1&stream=1&stdin=1&stdout=1&stderr=1", "http://bothy")
		if err != nil {
			t.Fatal(err)
		}
		conn, err := websocket.NewClient(config, raw)
		if err != nil {
			t.Fatal(err)
		}
		screen := newScreen(conn)
		screen.await(t, "ready\n")
		if _, err := conn.Write([]byte("word\n")); err != nil {
			t.Fatal(err)
		}
		screen.await(t, "got word\n")
		screen.await(t, "late\n")
		if got := e.bothy(t, "wait", name); got != "0" {
			t.Errorf("exit code %s", got)
		}
	})
}

func TestPruneContainers(t *testing.T) {
	t.Parallel()
	e := ownEngine(t)
	e.bothy(t, "import", "-c", `CMD ["sh"]`, sampleImage("busybox"), "busybox")
	e.bothy(t, "run", "--name", "done", "--label", "a=b", "busybox", "touch", "/x")
	e.bothy(t, "create", "--name", "new", "busybox")
	e.bothy(t, "run", "-d", "--name", "live", "busybox", "sleep", "1000")
	e.bothy(t, "container", "prune", "-f", "--filter", "label=a=b")
	if got := e.bothy(t, "ps", "-a", "--format", "{{.Names}}"); got != "live\nnew" {
		t.Errorf("by label: left are %q", got)
	}
	if got := e.bothy(t, "container", "prune", "-f"); !strings.Contains(got, "Total reclaimed space") {
		t.Errorf("it says %q", got)
	}
	if got := e.bothy(t, "ps", "-a", "--format", "{{.Names}}"); got != "live" {
		t.Errorf("left are %q", got)
	}
}
