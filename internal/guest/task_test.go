package guest

import (
	"os"
	"path/filepath"
	"testing"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"

	"bothy/internal/shimapi"
)

func TestWriteBundle(t *testing.T) {
	t.Parallel()
	bundle := filepath.Join(t.TempDir(), "b")
	spec := &specs.Spec{Mounts: []specs.Mount{
		{Destination: "/etc/hosts", Source: "/host/hosts"},
		{Destination: "/proc", Source: "proc"},
	}}
	if err := writeBundle(bundle, spec, []shimapi.File{{HostPath: "/host/hosts", Mode: 0o100644, Data: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	if spec.Mounts[1].Source != "proc" {
		t.Errorf("another mount was changed: %v", spec.Mounts[1])
	}
	info, err := os.Stat(spec.Mounts[0].Source)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("the copy: %v, %v", info, err)
	}
}

func TestSetNetNS(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "/run/netns/x"} {
		spec := &specs.Spec{Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.NetworkNamespace, Path: "/host/netns"}, {Type: specs.PIDNamespace},
		}}}
		setNetNS(spec, path)
		var got []string
		for _, n := range spec.Linux.Namespaces {
			if n.Type == specs.NetworkNamespace {
				got = append(got, n.Path)
			}
		}
		if path == "" && len(got) != 0 || path != "" && (len(got) != 1 || got[0] != path) {
			t.Errorf("%q: network namespaces %q", path, got)
		}
	}
}

func TestGuestOptionsRefuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*anypb.Any{
		"none":       nil,
		"other type": {TypeUrl: shimapi.CreateOptionsURL, Value: []byte(`{"version":1}`)},
		"no JSON":    {TypeUrl: shimapi.GuestOptionsURL, Value: []byte(`{`)},
		"version":    {TypeUrl: shimapi.GuestOptionsURL, Value: []byte(`{"version":99}`)},
	} {
		if got, err := guestOptions(&taskAPI.CreateTaskRequest{ID: "x", Options: o}); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestReserve(t *testing.T) {
	t.Parallel()
	k := &task{prepared: map[string]bool{}}
	for _, id := range []string{"", ".", "..", "a/b", "/"} {
		if err := k.reserve(id); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if err := k.reserve("a"); err != nil {
		t.Fatal(err)
	}
	if err := k.reserve("a"); !errdefs.IsAlreadyExists(err) {
		t.Errorf("twice: %v", err)
	}
}

func TestLoadModulesWithout(t *testing.T) {
	t.Parallel()
	m, err := readModules(filepath.Join(t.TempDir(), "absent"))
	if err == nil {
		err = m.load()
	}
	if err != nil {
		t.Errorf("a kernel with all built in: %v", err)
	}
	m.wait("ext4") // there is nothing to wait for
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "order"), []byte("absent.ko\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if m, err = readModules(dir); err != nil {
		t.Fatal(err)
	}
	if err := m.load(); err == nil {
		t.Error("a module that is absent was loaded")
	}
}
