package network

import (
	"context"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestSpareTap(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		m := openTest(t, testOptions())
		spare, err := m.MakeSpareTap("waiting", 1234)
		if err != nil {
			t.Fatal(err)
		}
		defer spare.File.Close()
		tap, err := m.rt.LinkByName(linkName(HomeVM, "waiting"))
		if err != nil {
			t.Fatal(err)
		}
		if a := tap.Attrs(); a.MasterIndex != 0 || a.Flags&net.FlagUp != 0 || a.MTU != 1500 {
			t.Errorf("before it is a container's: %+v", a)
		}
		left, err := m.MakeSpareTap("left", 0) // with the name that the container's is to have
		if err != nil {
			t.Fatal(err)
		}
		defer left.File.Close()
		if err := m.rt.LinkSetName(mustLink(t, m, left.index), linkName(HomeVM, "c")); err != nil {
			t.Fatal(err)
		}
		ep, err := m.Attach(ctx, Request{ContainerID: "c", Home: HomeVM, Tap: spare})
		if err != nil {
			t.Fatal(err)
		}
		if ep.File != nil || ep.Interface == nil {
			t.Errorf("endpoint %+v", ep)
		}
		joined, err := m.rt.LinkByName(linkName(HomeVM, "c"))
		if err != nil {
			t.Fatal(err)
		}
		if a := joined.Attrs(); a.Index != spare.index || a.MasterIndex != m.bridge || a.Flags&net.FlagUp == 0 {
			t.Errorf("as a container's: %+v", a)
		}
		detachAll(t, m, "c")
	})
}

// TestSpareTapThatIsGone has ended with its machine.
func TestSpareTapThatIsGone(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		m := openTest(t, testOptions())
		spare, err := m.MakeSpareTap("waiting", 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := spare.File.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Attach(ctx, Request{ContainerID: "c", Home: HomeVM, Tap: spare}); err == nil {
			t.Error("a tap that is gone was joined")
		}
		ep, err := m.Attach(ctx, Request{ContainerID: "c", Home: HomeVM}) // its address is free again
		if err != nil {
			t.Fatal(err)
		}
		_ = ep.File.Close()
		detachAll(t, m, "c")
	})
}

func mustLink(t *testing.T, m *Manager, index int) netlink.Link {
	t.Helper()
	link, err := m.rt.LinkByIndex(index)
	if err != nil {
		t.Fatal(err)
	}
	return link
}
