package executor

import (
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestAddAllDevices(t *testing.T) {
	t.Parallel()
	spec := &specs.Spec{Linux: &specs.Linux{}}
	if err := addAllDevices(spec, "/dev"); err != nil {
		t.Fatal(err)
	}
	isNull := func(d specs.LinuxDevice) bool {
		return d.Path == "/dev/null" && d.Type == "c" && d.Major == 1 && d.Minor == 3
	}
	if !slices.ContainsFunc(spec.Linux.Devices, isNull) {
		t.Errorf("no /dev/null among %d devices", len(spec.Linux.Devices))
	}
	if err := addAllDevices(spec, "/not-there"); err != nil {
		t.Error(err)
	}
}
