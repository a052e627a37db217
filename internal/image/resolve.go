package image

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// idPrefix is what may be a (short) ID: hexadecimal digits, perhaps after "sha256:".
var idPrefix = regexp.MustCompile(`^(sha256:)?[0-9a-f]{1,64}$`)

// Resolve finds an image by name[:tag], name@digest, ID (with or without
// "sha256:") or a prefix of one that only one image has. It gives
// errdefs.ErrNotFound, with docker's text, if there is none, and
// errdefs.ErrInvalidArgument for what is no reference.
func (s *Store) Resolve(ctx context.Context, ref string) (*Image, error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	_, r, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	return s.read(ctx, r)
}

// find looks a reference up. name is the record's name if ref was a name or
// repository digest, "" if it was an ID.
func (s *Store) find(ctx context.Context, ref string) (name string, r *records, err error) {
	all, err := s.all(ctx)
	if err != nil {
		return "", nil, err
	}
	if id, ok := fullID(ref); ok {
		if r := all[id]; r != nil {
			return "", r, nil
		}
		return "", nil, noSuchImage(ref)
	}
	named, parseErr := parseName(ref)
	if parseErr == nil {
		rec, err := s.images.Get(ctx, named.String())
		if err == nil {
			if r := all[rec.Labels[labelID]]; r != nil {
				return rec.Name, r, nil
			}
		} else if !errdefs.IsNotFound(err) {
			return "", nil, fmt.Errorf("looking up image %s: %w", ref, err)
		}
	}
	if idPrefix.MatchString(ref) {
		if r, err := byPrefix(all, ref); r != nil || err != nil {
			return "", r, err
		}
	}
	if parseErr != nil {
		return "", nil, parseErr
	}
	return "", nil, noSuchImage(reference.FamiliarString(named))
}

// fullID recognises a whole ID and gives it as a record is named.
func fullID(ref string) (string, bool) {
	d := digest.Digest(ref)
	if !strings.Contains(ref, ":") {
		d = digest.NewDigestFromEncoded(digest.SHA256, ref)
	}
	return d.String(), d.Algorithm() == digest.SHA256 && d.Validate() == nil
}

func byPrefix(all map[string]*records, prefix string) (*records, error) {
	want := "sha256:" + strings.TrimPrefix(prefix, "sha256:")
	var found *records
	for id, r := range all {
		if !strings.HasPrefix(id, want) {
			continue
		}
		if found != nil {
			return nil, errorf(errdefs.ErrInvalidArgument, "more than one image has an ID that begins with %s: give more of its digits", prefix)
		}
		found = r
	}
	return found, nil
}

// parseName parses what a user typed into the full form of a record's name: a
// name without tag gets "latest", one with tag and digest loses the tag.
func parseName(ref string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, errorf(errdefs.ErrInvalidArgument, "%q is no image reference: %w", ref, err)
	}
	if d, ok := named.(reference.Digested); ok {
		return reference.WithDigest(reference.TrimNamed(named), d.Digest())
	}
	return reference.TagNameOnly(named), nil
}

// parseTag parses a name that an image is to get: no digest, "latest" if it
// has no tag.
func parseTag(ref string) (reference.NamedTagged, error) {
	named, err := parseName(ref)
	if err != nil {
		return nil, err
	}
	tagged, ok := named.(reference.NamedTagged)
	if !ok {
		return nil, errorf(errdefs.ErrInvalidArgument, "%q has a digest: a name that an image gets can have a tag only", ref)
	}
	return tagged, nil
}

// Tag gives the image that source names a further name; another image that
// had it loses it.
func (s *Store) Tag(ctx context.Context, source, target string) error {
	ctx = namespaces.WithNamespace(ctx, namespace)
	tag, err := parseTag(target)
	if err != nil {
		return err
	}
	s.names.Lock()
	defer s.names.Unlock()
	_, r, err := s.find(ctx, source)
	if err != nil {
		return err
	}
	if err := s.put(ctx, images.Image{Name: tag.String(), Target: r.id.Target, Labels: map[string]string{labelID: r.id.Name}}); err != nil {
		return s.explain("tagging "+source+" as "+reference.FamiliarString(tag), err)
	}
	return nil
}

// put writes a record over one that may be there; s.names is held.
func (s *Store) put(ctx context.Context, rec images.Image) error {
	_, err := s.images.Create(ctx, rec)
	if errdefs.IsAlreadyExists(err) {
		_, err = s.images.Update(ctx, rec)
	}
	return err
}
