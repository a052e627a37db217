package executor_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"bothy/internal/executor"
	"bothy/internal/executortest"
)

// TestRefusalsOfZygotes compares what is said of commands that cannot be
// executed by containers of both kinds.
func TestRefusalsOfZygotes(t *testing.T) {
	needRoot(t)
	program := waiterProgram(t)
	for name, change := range map[string]func(*specs.Process){
		"no such command":      func(p *specs.Process) { p.Args = []string{"nothing"} },
		"no such file":         func(p *specs.Process) { p.Args = []string{"/bin/nothing"} },
		"no name":              func(p *specs.Process) { p.Args = []string{""} },
		"the directory itself": func(p *specs.Process) { p.Args, p.Cwd = []string{"."}, "/bin" },
		"a directory":          func(p *specs.Process) { p.Args = []string{"/bin"} },
		"below a file":         func(p *specs.Process) { p.Args = []string{"/etc/passwd/x"} },
		"not executable":       func(p *specs.Process) { p.Args = []string{"/etc/passwd"} },
		"not for the user":     func(p *specs.Process) { p.Args, p.User = []string{"/rootonly"}, specs.User{UID: 1000, GID: 1000} },
		"relative":             func(p *specs.Process) { p.Args, p.Env, p.Cwd = []string{"true"}, []string{"PATH=bin"}, "/" },
		"in the directory":     func(p *specs.Process) { p.Args, p.Env, p.Cwd = []string{"true"}, []string{"PATH=:/sbin"}, "/bin" },
		"no path":              func(p *specs.Process) { p.Args, p.Env = []string{"true"}, nil },
		"nonsense":             func(p *specs.Process) { p.Args = []string{"/nonsense"} },
		"no interpreter":       func(p *specs.Process) { p.Args = []string{"/script"} },
		"bad variable":         func(p *specs.Process) { p.Env = []string{"A"} },
		"nameless variable":    func(p *specs.Process) { p.Env = []string{"=A"} },
		"directory is a file":  func(p *specs.Process) { p.Cwd = "/etc/passwd" },
	} {
		t.Run(name, func(t *testing.T) {
			moved := 0
			f := newFixtureWith(t, func(o *executor.Options) {
				o.Waiter = program
				o.Trace = func(phase string) {
					if phase == executor.PhaseMovedIn {
						moved++
					}
				}
			})
			whole := ends(t, f, "whole", change)
			model := executortest.DefaultSpec()
			model.Linux.CgroupsPath = cgroupPath("model")
			if err := f.service.Learn(model); err != nil {
				t.Fatal(err)
			}
			if err := f.service.Prepare(""); err != nil {
				t.Fatal(err)
			}
			ahead := ends(t, f, "ahead", change)
			if moved != 1 && name != "directory is a file" {
				t.Errorf("%d containers were made of a zygote", moved)
			}
			if whole != ahead {
				t.Errorf("made as a whole: %s\nof a zygote:     %s", whole, ahead)
			}
			if strings.Contains(whole, "exit 0") && !strings.Contains(name, "user") {
				t.Errorf("nothing was refused: %s", whole)
			}
			for _, id := range []string{"whole", "ahead"} {
				if left := f.Leftovers(t, id); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			}
		})
	}
}

// ends runs a container and says what became of it.
func ends(t *testing.T, f *fixture, id string, change func(*specs.Process)) string {
	t.Helper()
	ctx := context.Background()
	spec := executortest.DefaultSpec()
	change(spec.Process)
	r := f.prepare(t, id, spec)
	for name, file := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"rootonly": {"#!/bin/true\n", 0o700}, "nonsense": {"nonsense", 0o755}, "script": {"#!/no/interpreter\n", 0o755},
	} {
		if err := os.WriteFile(filepath.Join(r.Bundle, "rootfs", name), []byte(file.text), file.mode); err != nil {
			t.Fatal(err)
		}
	}
	st := f.stdio(false)
	r.Stdout, r.Stderr = st.Stdout, st.Stderr
	out, errs := readAll(st.Out), readAll(st.Err)
	text := func(err error) string {
		return strings.ReplaceAll(fmt.Sprintf("%v (%v)", err, errdefs.Resolve(err)), id, "ID")
	}
	if _, err := f.service.Create(ctx, r); err != nil {
		return "create: " + text(err)
	}
	defer func() {
		if _, err := f.service.Delete(ctx, &taskapi.DeleteRequest{ID: id}); err != nil {
			t.Error(err)
		}
	}()
	if _, err := f.service.Start(ctx, &taskapi.StartRequest{ID: id}); err != nil {
		return "start: " + text(err)
	}
	w, err := f.service.Wait(ctx, &taskapi.WaitRequest{ID: id})
	if err != nil {
		return "wait: " + text(err)
	}
	return fmt.Sprintf("exit %d, output %q, errors %q", w.ExitStatus, <-out, <-errs)
}
