package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// RemoveOptions say what stands in the way of removing an image.
type RemoveOptions struct {
	// Force removes an image with several names, or one that containers which
	// do not run use.
	Force bool
	// InUse names the containers that use an image; nil: there are none.
	InUse func(id digest.Digest) (containers []string)
	// Running names those of them that run: nothing removes their image by ID,
	// and by its last name it becomes one without a name. Nil: none do.
	Running func(id digest.Digest) (containers []string)
}

// Removed is one thing that Remove did: one of the two is set.
type Removed struct {
	Untagged string // a name, or a repository digest
	Deleted  string // an image's ID
}

// Remove takes a name from an image, and the image away with its last name, by
// docker's rules: by ID, an image with names in several repositories is kept
// unless forced, and so is one that containers use. A conflict is
// errdefs.ErrConflict with docker's text.
func (s *Store) Remove(ctx context.Context, ref string, opts RemoveOptions) ([]Removed, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	removed, err := s.remove(ctx, ref, opts)
	if err != nil {
		return removed, err
	}
	if slices.ContainsFunc(removed, func(r Removed) bool { return r.Deleted != "" }) {
		if err := s.Collect(ctx); err != nil {
			return removed, fmt.Errorf("removing image %s: %w", ref, err)
		}
	}
	return removed, nil
}

func (s *Store) remove(ctx context.Context, ref string, opts RemoveOptions) ([]Removed, error) {
	s.names.Lock()
	defer s.names.Unlock()
	name, r, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	id := digest.Digest(r.id.Name)
	var gone []images.Image
	whole := true
	if name != "" {
		gone, whole = untag(name, r.names)
	} else {
		gone = r.names
		if !opts.Force && !oneRepository(r.names) {
			return nil, errorf(errdefs.ErrConflict, "conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", short(id))
		}
	}
	if whole {
		if err := conflict(id, name, opts); err != nil {
			return nil, err
		}
	}
	var removed []Removed
	for _, n := range gone {
		if err := s.images.Delete(ctx, n.Name); err != nil && !errdefs.IsNotFound(err) {
			return removed, fmt.Errorf("removing image %s: %w", ref, err)
		}
		removed = append(removed, Removed{Untagged: familiar(n.Name)})
	}
	if !whole || opts.runs(id) {
		return removed, nil
	}
	if err := s.images.Delete(ctx, id.String()); err != nil && !errdefs.IsNotFound(err) {
		return removed, fmt.Errorf("removing image %s: %w", ref, err)
	}
	s.mu.Lock()
	delete(s.configs, id)
	s.mu.Unlock()
	return append(removed, Removed{Deleted: id.String()}), nil
}

// untag says which records go when one name does, and whether the image goes
// with it. A repository's digests go with its last tag.
func untag(name string, names []images.Image) (gone []images.Image, whole bool) {
	repo := repository(name)
	tags := 0
	for _, n := range names {
		if n.Name != name && repository(n.Name) == repo && !strings.Contains(n.Name, "@") {
			tags++
		}
	}
	for _, n := range names {
		if n.Name == name || tags == 0 && repository(n.Name) == repo {
			gone = append(gone, n)
		}
	}
	slices.SortFunc(gone, func(a, b images.Image) int {
		return strings.Compare(strings.Replace(a.Name, "@", "~", 1), strings.Replace(b.Name, "@", "~", 1))
	})
	return gone, len(gone) == len(names)
}

// oneRepository says whether all names are one tag and digests of its repository.
func oneRepository(names []images.Image) bool {
	tags := 0
	for _, n := range names {
		if repository(n.Name) != repository(names[0].Name) {
			return false
		}
		if !strings.Contains(n.Name, "@") {
			tags++
		}
	}
	return tags <= 1
}

func repository(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return ref.Name()
}

// conflict says why an image cannot go: containers use it.
func conflict(id digest.Digest, name string, opts RemoveOptions) error {
	if name == "" && opts.Running != nil {
		if c := opts.Running(id); len(c) > 0 {
			return errorf(errdefs.ErrConflict, "conflict: unable to delete %s (cannot be forced) - image is being used by running container %s", short(id), shortContainer(c[0]))
		}
	}
	if opts.InUse == nil || opts.Force {
		return nil
	}
	users := opts.InUse(id)
	if len(users) == 0 {
		return nil
	}
	if name != "" {
		return errorf(errdefs.ErrConflict, "conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s", familiar(name), shortContainer(users[0]), short(id))
	}
	return errorf(errdefs.ErrConflict, "conflict: unable to delete %s (must be forced) - image is being used by stopped container %s", short(id), shortContainer(users[0]))
}

// runs says whether a container that runs uses the image.
func (o RemoveOptions) runs(id digest.Digest) bool {
	return o.Running != nil && len(o.Running(id)) > 0
}

// shortContainer is the form of a container's ID that docker shows.
func shortContainer(id string) string { return id[:min(len(id), 12)] }
