package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}` + "\n"

// serve is a QEMU that greets, accepts the capabilities, and answers every later
// command with what answer returns for it.
func serve(t *testing.T, answer func(command string, id string) string) *Client {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	go func() {
		defer theirs.Close()
		io.WriteString(theirs, greeting)
		in := bufio.NewScanner(theirs)
		for in.Scan() {
			var c struct {
				Execute string          `json:"execute"`
				ID      json.RawMessage `json:"id"`
			}
			if json.Unmarshal(in.Bytes(), &c) != nil {
				return
			}
			out := `{"return": {}, "id": ` + string(c.ID) + "}\n"
			if c.Execute != "qmp_capabilities" {
				out = answer(c.Execute, string(c.ID))
			}
			if out == "" {
				return
			}
			io.WriteString(theirs, out)
		}
	}()
	c, err := New(testContext(t), ours)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestRunDecodesResult(t *testing.T) {
	t.Parallel()
	c := serve(t, func(_, id string) string {
		return `{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}` + "\n" +
			`{"return": {"running": true, "status": "running"}, "id": ` + id + "}\n"
	})
	var status struct{ Status string }
	if err := c.Run(testContext(t), "query-status", nil, &status); err != nil || status.Status != "running" {
		t.Fatalf("%+v, %v", status, err)
	}
	if e := <-c.Events(); e.Name != "STOP" {
		t.Fatalf("event %v", e)
	}
}

func TestRunReportsClass(t *testing.T) {
	t.Parallel()
	c := serve(t, func(_, id string) string {
		return `{"id": ` + id + `, "error": {"class": "CommandNotFound", "desc": "no such thing"}}` + "\n"
	})
	err := c.Run(testContext(t), "frobnicate", map[string]int{"a": 1}, nil)
	var e *Error
	if !errors.As(err, &e) || e.Class != "CommandNotFound" || e.Command != "frobnicate" {
		t.Fatalf("error %v", err)
	}
}

func TestRunEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	c := serve(t, func(string, string) string { return "" })
	if err := c.Run(testContext(t), "quit", nil, nil); !errors.Is(err, io.EOF) {
		t.Fatalf("error %v", err)
	}
	<-c.Done()
	if _, ok := <-c.Events(); ok || c.Err() == nil {
		t.Fatalf("events open or no error: %v", c.Err())
	}
}

func TestRunEndsWithTheContext(t *testing.T) {
	t.Parallel()
	c := serve(t, func(string, string) string { return "\n{}\n" })
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if err := c.Run(ctx, "stop", nil, nil); err == nil {
		t.Fatal("no error")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"silence":     "",
		"no greeting": `{"return": {}}` + "\n",
		"no JSON":     "SSH-2.0\n",
		"too long":    strings.Repeat(" ", maxLine+1),
	} {
		ours, theirs := net.Pipe()
		go func() { io.WriteString(theirs, in); theirs.Close() }()
		if _, err := New(testContext(t), ours); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// pipe is a connection with fixed input.
type pipe struct{ io.Reader }

func (p *pipe) Write(b []byte) (int, error) { return len(b), nil }
func (p *pipe) Close() error                { return nil }

func FuzzMessages(f *testing.F) {
	f.Add([]byte(greeting + `{"return": {}, "id": 1}` + "\n"))
	f.Add([]byte(greeting + `{"error": {"class": "x", "desc": "y"}, "id": 1}` + "\n" + `{"event": "STOP"}`))
	f.Add([]byte(`{"QMP": {}}` + "\n" + `{"id": 1}` + "\n[]\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c, err := New(ctx, &pipe{Reader: strings.NewReader(string(in))})
		if err != nil {
			return
		}
		c.Run(ctx, "query-status", nil, nil)
		<-c.Done()
	})
}

// TestRunWithFile checks that a file arrives with its command, in one piece with
// those of others.
func TestRunWithFile(t *testing.T) {
	t.Parallel()
	ours, theirs := socketPair(t)
	got := make(chan string, 1)
	go func() {
		io.WriteString(theirs, greeting)
		if _, err := theirs.Read(make([]byte, 4096)); err != nil {
			got <- err.Error()
			return
		}
		io.WriteString(theirs, `{"return": {}, "id": 1}`+"\n")
		got <- contents(theirs)
		io.WriteString(theirs, `{"return": {}, "id": 2}`+"\n")
	}()
	c, err := New(testContext(t), ours)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte("passed on"), 0); err != nil {
		t.Fatal(err)
	}
	if err := c.RunWithFile(testContext(t), "getfd", nil, nil, file); err != nil {
		t.Fatal(err)
	}
	if text := <-got; text != "passed on" {
		t.Errorf("QEMU got a file with %q", text)
	}
}

// contents reads the first file that arrives on a socket.
func contents(socket *net.UnixConn) string {
	line, rights := make([]byte, 4096), make([]byte, 64)
	for {
		_, n, _, _, err := socket.ReadMsgUnix(line, rights)
		if err != nil {
			return err.Error()
		}
		messages, err := unix.ParseSocketControlMessage(rights[:n])
		if err != nil || len(messages) == 0 {
			continue
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			return err.Error()
		}
		f := os.NewFile(uintptr(fds[0]), "passed")
		defer f.Close()
		data, _ := io.ReadAll(io.NewSectionReader(f, 0, 100))
		return string(data)
	}
}

func socketPair(t *testing.T) (ours, theirs *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return ends[0], ends[1]
}

func TestRunWithFileNeedsSocket(t *testing.T) {
	t.Parallel()
	c := serve(t, func(string, string) string { return "" })
	if err := c.RunWithFile(testContext(t), "getfd", nil, nil, os.Stdin); err == nil {
		t.Error("a file went through a pipe")
	}
}
