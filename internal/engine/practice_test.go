package engine

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"bothy/internal/shimapi"
	"bothy/internal/vm"
)

func TestPracticeIsLikeAContainer(t *testing.T) {
	t.Parallel()
	p := &practice{dir: filepath.Join(t.TempDir(), "practice")}
	made, err := p.files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(made.Image); err != nil || st.Size() != vm.PracticeSize {
		t.Errorf("its image: %v, %v", st, err)
	}
	data, err := os.ReadFile(filepath.Join(made.Bundle, shimapi.SpecFile))
	var s specs.Spec
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s.Linux.Seccomp == nil || len(s.Linux.MaskedPaths) == 0 || s.Process.Capabilities == nil || len(s.Process.Args) != 2 {
		t.Errorf("it lacks what docker's containers have: %s", data)
	}
	if m := s.Mounts[len(s.Mounts)-1]; m.Source != "/init" || m.Destination != s.Process.Args[0] {
		t.Errorf("its program: %+v, %v", m, s.Process.Args)
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("files %v, %v", entries, err)
	}
	if again, err := p.files(t.Context()); err != nil || again != made {
		t.Errorf("the second time %+v, %v", again, err)
	}
}
