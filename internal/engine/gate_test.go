package engine

import (
	"context"
	"testing"

	"github.com/containerd/errdefs"
)

func TestGate(t *testing.T) {
	t.Parallel()
	g := newGate(0) // one at least
	leave, err := g.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.enter(gone); !errdefs.IsAborted(err) {
		t.Errorf("a second one: %v", err)
	}
	leave()
	if leave, err = g.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	leave()
}
