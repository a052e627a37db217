package image

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
)

// resourceLayer is the garbage collector's type for layer files. Its number
// only has to differ from those that containerd uses.
const resourceLayer gc.ResourceType = 0x1c

// layerReference is the end of the label "containerd.io/gc.ref.<this>.<n>" by
// which a config refers to its layers.
const layerReference = "bothy-layer"

func layerLabel(n int) string { return fmt.Sprintf("containerd.io/gc.ref.%s.%d", layerReference, n) }

// Collect removes content and layers that no image, container or operation
// needs. It is called by every operation that leaves something behind; calling
// it once after SetUsers gets rid of what a crash left.
func (s *Store) Collect(ctx context.Context) error {
	ctx = log.WithLogger(namespaces.WithNamespace(ctx, namespace), s.quiet)
	s.gc.Lock()
	defer s.gc.Unlock()
	s.mu.Lock()
	users := s.users
	used := slices.Collect(maps.Keys(s.held))
	s.mu.Unlock()
	if users != nil {
		ids, err := users(ctx)
		if err != nil {
			return fmt.Errorf("collecting unused images: asking which are in use: %w", err)
		}
		used = append(used, ids...)
	}
	s.layers.setUsed(used)
	if _, err := s.db.GarbageCollect(ctx); err != nil {
		return fmt.Errorf("collecting unused images: %w", err)
	}
	s.collected = true
	return nil
}

// sweep removes what a crash left and nobody can need: leases of operations that
// are no more, and blobs that never came on record.
func (s *Store) sweep(ctx context.Context, backend content.Store) error {
	ls, err := s.leases.List(ctx)
	if err != nil {
		return err
	}
	for _, l := range ls {
		if err := s.leases.Delete(ctx, l); err != nil {
			return err
		}
	}
	known := map[digest.Digest]bool{}
	if err := s.content.Walk(ctx, func(i content.Info) error { known[i.Digest] = true; return nil }); err != nil {
		return err
	}
	var stray []digest.Digest
	if err := backend.Walk(ctx, func(i content.Info) error {
		if !known[i.Digest] {
			stray = append(stray, i.Digest)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, d := range stray {
		if err := backend.Delete(ctx, d); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// collection is one run of the collector over the layers. The layer store's
// lock is held from its start to its end, so that no layer is found to be
// there that is about to go.
type collection struct {
	l      *layerStore
	used   []digest.Digest
	remove []digest.Digest
}

var (
	_ metadata.Collector         = (*layerStore)(nil)
	_ metadata.CollectionContext = (*collection)(nil)
)

// ReferenceLabel says by which label others refer to layers.
func (l *layerStore) ReferenceLabel() string { return layerReference }

// StartCollection begins a run; Cancel or Finish ends it.
func (l *layerStore) StartCollection(context.Context) (metadata.CollectionContext, error) {
	l.mu.Lock()
	return &collection{l: l, used: l.used}, nil
}

func (c *collection) All(fn func(gc.Node)) {
	for _, id := range c.l.list() {
		fn(gc.Node{Type: resourceLayer, Namespace: namespace, Key: id.String()})
	}
}

func (c *collection) Active(ns string, fn func(gc.Node)) {
	if ns != namespace {
		return
	}
	for id := range c.l.pins {
		fn(gc.Node{Type: resourceLayer, Namespace: ns, Key: id.String()})
	}
	for _, id := range c.used {
		fn(gc.Node{Type: metadata.ResourceContent, Namespace: ns, Key: id.String()})
	}
}

func (c *collection) Leased(string, string, func(gc.Node)) {}

func (c *collection) Remove(n gc.Node) { c.remove = append(c.remove, digest.Digest(n.Key)) }

func (c *collection) Cancel() error {
	c.l.mu.Unlock()
	return nil
}

func (c *collection) Finish() error {
	defer c.l.mu.Unlock()
	return c.l.delete(c.remove)
}
