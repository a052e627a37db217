package vm

import (
	"testing"

	"bothy/internal/shimapi"
)

func TestFingerprint(t *testing.T) {
	t.Parallel()
	of := func(m shimapi.Machine) string {
		t.Helper()
		f, err := Fingerprint(m)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	one := of(shimapi.Machine{Accel: "tcg"})
	if other := of(shimapi.Machine{Accel: "tcg", Memory: 5 << 30, CPUs: 7, Kernel: "/x", UID: 5}); other != one {
		t.Errorf("it depends on the size: %s, %s", one, other)
	}
	for name, m := range map[string]shimapi.Machine{"accelerator": {Accel: "kvm"}, "command line": {Accel: "tcg", Cmdline: "quiet"}} {
		if of(m) == one {
			t.Errorf("the %s does not count", name)
		}
	}
	if _, err := Fingerprint(shimapi.Machine{Accel: "magic"}); err == nil {
		t.Error("an unknown accelerator has one")
	}
}
