package network

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestLoneTap(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		m := openTest(t, testOptions())
		for range 2 { // no one's name is in another's way
			tap, err := MakeLoneTap(1234)
			if err != nil {
				t.Fatal(err)
			}
			defer tap.Close()
			request, err := unix.NewIfreq("")
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.IoctlIfreq(int(tap.Fd()), unix.TUNGETIFF, request); err != nil || request.Name() != "tap0" {
				t.Errorf("it is %q, %v", request.Name(), err)
			}
		}
		if _, err := m.rt.LinkByName("tap0"); !isGone(err) {
			t.Errorf("it can be seen: %v", err)
		}
	})
}
