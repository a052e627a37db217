package engine

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"bothy/internal/engineapi"
)

// listFilter is docker's set of filters for a list of containers. A container
// must match one value of every key.
type listFilter struct {
	values engineapi.Filters
	match1 map[string]func(view, string) bool
	// namesState says that a filter names a state, so that all containers are
	// looked at and not those only that run.
	namesState bool
}

// newListFilter reads filters and resolves the containers and images that they
// name.
func (s *Containers) newListFilter(ctx context.Context, filters engineapi.Filters) (*listFilter, error) {
	f := &listFilter{values: filters}
	f.match1 = map[string]func(view, string) bool{
		"id":        func(v view, x string) bool { return strings.HasPrefix(v.rec.ID, x) },
		"name":      matchName,
		"label":     func(v view, x string) bool { return matchLabel(v.rec.Config.Labels, x) },
		"status":    func(v view, x string) bool { return string(v.st.State) == x },
		"exited":    matchExited,
		"network":   matchNetwork,
		"volume":    matchMount,
		"isolation": func(v view, x string) bool { return v.rec.Home == x || x == "hyperv" && v.rec.Home == "vm" },
		"ancestor":  nil,
		"before":    nil,
		"since":     nil,
		"health":    func(_ view, x string) bool { return x == "none" },
		"is-task":   func(_ view, x string) bool { return x == "false" || x == "0" },
		"publish":   func(view, string) bool { return false }, // nothing is published
		"expose":    matchExposed,
	}
	for key, values := range filters {
		if _, ok := f.match1[key]; !ok {
			return nil, failure(errdefs.ErrInvalidArgument, "invalid filter '%s'", key)
		}
		if err := f.check(key, values); err != nil {
			return nil, err
		}
	}
	if err := s.resolveOrder(f); err != nil {
		return nil, err
	}
	s.resolveAncestors(ctx, f)
	return f, nil
}

// check looks at the values that can be wrong.
func (f *listFilter) check(key string, values map[string]bool) error {
	for v := range values {
		switch key {
		case "status":
			f.namesState = true
			if err := container.ValidateContainerState(State(v)); err != nil {
				return failure(errdefs.ErrInvalidArgument, "%v", err)
			}
		case "exited":
			f.namesState = true
			if _, err := strconv.Atoi(v); err != nil {
				return failure(errdefs.ErrInvalidArgument, "invalid filter 'exited=%s': not a number", v)
			}
		case "health":
			if err := container.ValidateHealthStatus(container.HealthStatus(v)); err != nil {
				return failure(errdefs.ErrInvalidArgument, "%v", err)
			}
		case "is-task":
			if _, err := strconv.ParseBool(v); err != nil {
				return failure(errdefs.ErrInvalidArgument, "invalid filter 'is-task=%s'", v)
			}
		}
	}
	return nil
}

// resolveOrder finds the containers that before and since name.
func (s *Containers) resolveOrder(f *listFilter) error {
	for _, key := range []string{"before", "since"} {
		for ref := range f.values[key] {
			c, err := s.index.find(ref)
			if err != nil {
				return err
			}
			rec, _ := c.snapshot()
			f.namesState = true
			f.match1[key] = func(v view, _ string) bool {
				if key == "before" {
					return v.rec.Created.Before(rec.Created)
				}
				return v.rec.Created.After(rec.Created)
			}
		}
	}
	return nil
}

// resolveAncestors finds the images that ancestor names; one that is not there
// is nobody's.
func (s *Containers) resolveAncestors(ctx context.Context, f *listFilter) {
	ids := map[string]string{}
	for ref := range f.values["ancestor"] {
		if img, err := s.images.Resolve(ctx, ref); err == nil {
			ids[ref] = img.ID.String()
		}
	}
	f.match1["ancestor"] = func(v view, ref string) bool {
		return v.rec.Config.Image == ref || ids[ref] != "" && ids[ref] == v.rec.ImageID
	}
}

func (f *listFilter) match(v view) bool {
	for key, values := range f.values {
		ok := len(values) == 0
		for x := range values {
			hit := f.match1[key](v, x)
			if key == "label" && !hit { // docker wants all labels
				return false
			}
			ok = ok || hit
		}
		if !ok {
			return false
		}
	}
	return true
}

// matchName takes a part of the name, or a pattern.
func matchName(v view, x string) bool {
	re, err := regexp.Compile(x)
	if err != nil {
		return strings.Contains(v.rec.Name, trimSlash(x))
	}
	return re.MatchString("/"+v.rec.Name) || re.MatchString(v.rec.Name)
}

// matchLabel takes "key" or "key=value".
func matchLabel(labels map[string]string, x string) bool {
	key, value, exact := strings.Cut(x, "=")
	got, ok := labels[key]
	return ok && (!exact || got == value)
}

func matchExited(v view, x string) bool {
	return v.st.State == container.StateExited && strconv.Itoa(v.st.ExitCode) == x
}

func matchNetwork(v view, x string) bool {
	for name, e := range networksOf(v.rec, v.st) {
		if name == x || e.NetworkID != "" && (e.NetworkID == x || strings.HasPrefix(e.NetworkID, x)) {
			return true
		}
	}
	return false
}

func matchMount(v view, x string) bool {
	return slices.ContainsFunc(mountPoints(v.rec.HostConfig), func(m container.MountPoint) bool {
		return m.Name == x || m.Source == x || m.Destination == x
	})
}

// matchExposed takes "80", "80/tcp" or a range "80-90/udp".
func matchExposed(v view, x string) bool {
	span, err := network.ParsePortRange(x)
	if err != nil {
		return false
	}
	for p := range span.All() {
		if _, ok := v.rec.Config.ExposedPorts[p]; ok {
			return true
		}
	}
	return false
}
