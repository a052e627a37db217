package executortest

import (
	"fmt"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

var terminalCases = map[string]func(*testing.T, *env){
	"Terminal":         testTerminal,
	"TerminalResize":   testTerminalResize,
	"TerminalSignal":   testTerminalSignal,
	"ResizeNoTerminal": testResizeNoTerminal,
}

func terminal(s *specs.Spec) { s.Process.Terminal = true }

func consoleSize(height, width uint) *specs.Box { return &specs.Box{Height: height, Width: width} }

func testTerminal(t *testing.T, e *env) {
	k := e.run(terminal, script("test -t 0 && test -t 1 && test -t 2 && echo yes >&2; head -c 1048576 /dev/zero | tr '\\0' x; exit 4"))
	if got := k.wait(); got != 4 {
		t.Errorf("exit status %d, want 4", got)
	}
	if got := k.out.all(t); len(got) != 5+1<<20 || got[:5] != "yes\r\n" {
		t.Errorf("%d bytes of output: %.20q...", len(got), got)
	}
}

func testTerminalResize(t *testing.T, e *env) {
	k := e.run(terminal, script("stty size; trap 'stty size; exit 0' WINCH; echo ready; while :; do read x; done"),
		func(s *specs.Spec) { s.Process.ConsoleSize = consoleSize(24, 80) })
	k.out.expect(t, "24 80\r\nready")
	if _, err := k.Service().ResizePty(k.ctx, &taskapi.ResizePtyRequest{ID: k.id, Width: 132, Height: 43}); err != nil {
		t.Fatal("ResizePty:", err)
	}
	fmt.Fprint(k.stdio.In, "\n") // a shell looks for signals when it has read a line
	k.out.expect(t, "43 132\r\n")
	k.wait()
}

// Ctrl-C is the terminal's matter, and needs it to be the controlling one.
func testTerminalSignal(t *testing.T, e *env) {
	k := e.run(terminal, script("trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 1; done"))
	k.out.expect(t, "ready")
	fmt.Fprint(k.stdio.In, "\x03")
	if got := k.wait(); got != 3 {
		t.Errorf("exit status %d, want 3", got)
	}
	k.out.expect(t, "caught")
}

func testResizeNoTerminal(t *testing.T, e *env) {
	k := e.run(command("cat"))
	_, err := k.Service().ResizePty(k.ctx, &taskapi.ResizePtyRequest{ID: k.id, Width: 1, Height: 1})
	wantError(t, err, errdefs.ErrFailedPrecondition, "it has none")
}
