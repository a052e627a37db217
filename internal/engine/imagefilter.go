package engine

import (
	"context"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"bothy/internal/engineapi"
	"bothy/internal/image"
)

// imageFilter reads docker's filters for a list of images. An image must match
// one value of every key; of labels all. The result takes those of its names
// away that a filter for references does not select.
func (s *Images) imageFilter(ctx context.Context, filters engineapi.Filters) (func(*image.Image) bool, error) {
	var tests []func(*image.Image) bool
	for key, values := range filters {
		for value := range values {
			if _, known := imageFilters[key]; !known {
				return nil, failure(errdefs.ErrInvalidArgument, "invalid filter '%s'", key)
			}
			// Those keys of which one value is enough are handled together.
			if key == "reference" {
				continue
			}
			test, err := imageFilters[key](ctx, s, value)
			if err != nil {
				return nil, err
			}
			tests = append(tests, test)
		}
	}
	if patterns := filters["reference"]; len(patterns) > 0 {
		for p := range patterns {
			if _, err := path.Match(p, ""); err != nil {
				return nil, failure(errdefs.ErrInvalidArgument, "invalid filter 'reference=%s': %v", p, err)
			}
		}
		tests = append(tests, func(img *image.Image) bool { return selectReferences(img, patterns) })
	}
	return func(img *image.Image) bool {
		return !slices.ContainsFunc(tests, func(test func(*image.Image) bool) bool { return !test(img) })
	}, nil
}

// imageFilters makes the test for one value of a key.
var imageFilters = map[string]func(ctx context.Context, s *Images, value string) (func(*image.Image) bool, error){
	"reference": nil,
	"dangling":  filterDangling,
	"label": func(_ context.Context, _ *Images, value string) (func(*image.Image) bool, error) {
		return func(img *image.Image) bool { return matchLabel(img.Config.Config.Labels, value) }, nil
	},
	"label!": func(_ context.Context, _ *Images, value string) (func(*image.Image) bool, error) {
		return func(img *image.Image) bool { return !matchLabel(img.Config.Config.Labels, value) }, nil
	},
	"before": func(ctx context.Context, s *Images, value string) (func(*image.Image) bool, error) {
		other, err := s.store.Resolve(ctx, value)
		if err != nil {
			return nil, err
		}
		return func(img *image.Image) bool { return img.Created.Before(other.Created) }, nil
	},
	"since": func(ctx context.Context, s *Images, value string) (func(*image.Image) bool, error) {
		other, err := s.store.Resolve(ctx, value)
		if err != nil {
			return nil, err
		}
		return func(img *image.Image) bool { return img.Created.After(other.Created) }, nil
	},
	"until": func(_ context.Context, _ *Images, value string) (func(*image.Image) bool, error) {
		at, err := parseMoment(value, time.Now())
		if err != nil {
			return nil, err
		}
		return func(img *image.Image) bool { return img.Created.Before(at) }, nil
	},
}

func filterDangling(_ context.Context, _ *Images, value string) (func(*image.Image) bool, error) {
	want, err := strconv.ParseBool(value)
	if err != nil {
		return nil, failure(errdefs.ErrInvalidArgument, "invalid filter 'dangling=%s'", value)
	}
	return func(img *image.Image) bool { return (len(img.Names) == 0) == want }, nil
}

// selectReferences keeps those names of an image that a pattern selects, and
// reports whether there are any.
func selectReferences(img *image.Image, patterns map[string]bool) bool {
	selected := func(names []string) []string {
		var kept []string
		for _, name := range names {
			if matchReference(name, patterns) {
				kept = append(kept, name)
			}
		}
		return kept
	}
	img.Names, img.Digests = selected(img.Names), selected(img.Digests)
	return len(img.Names)+len(img.Digests) > 0
}

// matchReference takes shell patterns for a name, with or without its tag.
func matchReference(name string, patterns map[string]bool) bool {
	for p := range patterns {
		for _, text := range []string{name, familiarRepo(name)} {
			if ok, err := path.Match(p, text); err == nil && ok {
				return true
			}
		}
	}
	return false
}

// parseMoment reads a time as docker's filters have it: seconds since the
// epoch, RFC 3339, a date, or a duration back from now.
func parseMoment(value string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(value); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, value, time.Local); err == nil {
			return t, nil
		}
	}
	whole, fraction, _ := strings.Cut(value, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, failure(errdefs.ErrInvalidArgument, "invalid time %q: use seconds since 1970, a date, or a duration such as 10m", value)
	}
	nano, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return time.Unix(sec, nano), nil
}
