package executortest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var stdioCases = map[string]func(*testing.T, *env){
	"Output":           testOutput,
	"StderrApart":      testStderrApart,
	"StdinAndItsEnd":   testStdin,
	"CloseIO":          testCloseIO,
	"MegabyteThenExit": testMegabyte,
	"StrayKeepsOutput": testStray,
}

func testOutput(t *testing.T, e *env) {
	if got := e.output(command("echo", "hello")); got != "hello" {
		t.Errorf("output %q, want hello", got)
	}
}

func testStderrApart(t *testing.T, e *env) {
	k := e.run(script("echo out; echo err >&2"))
	k.wait()
	if out, err := k.out.all(t), k.err.all(t); out != "out\n" || err != "err\n" {
		t.Errorf("stdout %q, stderr %q", out, err)
	}
}

func testStdin(t *testing.T, e *env) {
	k := e.run(command("cat"))
	fmt.Fprint(k.stdio.In, "first\n")
	k.out.expect(t, "first\n")
	fmt.Fprint(k.stdio.In, "second\n")
	k.stdio.In.Close()
	if status := k.wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if got := k.out.all(t); got != "first\nsecond\n" {
		t.Errorf("output %q", got)
	}
}

func testCloseIO(t *testing.T, e *env) {
	k := e.run(command("cat"))
	fmt.Fprint(k.stdio.In, "some\n")
	k.out.expect(t, "some\n")
	k.closeStdin()
	if status := k.wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func testMegabyte(t *testing.T, e *env) {
	k := e.run(script("yes 0123456789abcde | head -c 1048576; yes fedcba987654321 | head -c 1048576 >&2; exit 3"))
	if status := k.wait(); status != 3 {
		t.Errorf("exit status %d, want 3", status)
	}
	for name, got := range map[string]string{"stdout": k.out.all(t), "stderr": k.err.all(t)} {
		if len(got) != 1<<20 || strings.Count(got, "\n") != 1<<16 {
			t.Errorf("%s has %d bytes in %d lines", name, len(got), strings.Count(got, "\n"))
		}
	}
}

// A process that outlives its parent in an exec keeps the output open: the exit
// is reported all the same, with what was written up to it.
func testStray(t *testing.T, e *env) {
	k := e.run(command("sleep", "1000"))
	x := k.exec("x", shell("sleep 1000 & echo done"))
	begin := time.Now()
	if status := x.wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("the exit was reported after %v", took)
	}
	if got := x.out.all(t); got != "done\n" {
		t.Errorf("output %q", got)
	}
}
