package network

import (
	"context"
	"net"
	"testing"
)

func TestLinksAreMadeMeanwhile(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		m := openTest(t, testOptions())
		ep, err := m.Begin(ctx, Request{ContainerID: "a", Home: HomeProcess})
		if err != nil {
			t.Fatal(err)
		}
		if !ep.IPAddress.IsValid() || ep.File == nil || ep.Interface == nil {
			t.Errorf("the endpoint is not settled: %+v", ep)
		}
		for range 2 {
			if err := ep.Ready(); err != nil {
				t.Fatal(err)
			}
		}
		err = inside(ep.File, func() error {
			_, err := net.InterfaceByName("eth0")
			return err
		})
		if err != nil {
			t.Error(err)
		}
		// A caller that gives up at once leaves nothing.
		soon, err := m.Begin(ctx, Request{ContainerID: "b", Home: HomeProcess})
		if err != nil {
			t.Fatal(err)
		}
		soon.File.Close()
		ep.File.Close()
		detachAll(t, m, "a", "b")
		if err := m.Close(ctx, false); err != nil {
			t.Fatal(err)
		}
		if links := linkNames(t); links != "lo" {
			t.Errorf("left behind: %s", links)
		}
	})
}

func TestLinkThatCannotBeMade(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		m := openTest(t, testOptions())
		m.opts.MTU = 100_000 // more than a veth can have
		ep, err := m.Begin(ctx, Request{ContainerID: "a", Home: HomeProcess})
		if err != nil {
			t.Fatal(err)
		}
		defer ep.File.Close()
		if err := ep.Ready(); err == nil {
			t.Error("a veth with such an MTU came up")
		}
		if _, err := m.Attach(ctx, Request{ContainerID: "b", Home: HomeProcess}); err == nil {
			t.Error("attached with such an MTU")
		}
		detachAll(t, m, "a")
		if n := len(m.addresses.used); n > 0 {
			t.Errorf("%d addresses are still taken", n)
		}
	})
}
