package event

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
)

// Filter selects messages. A message must match one value of every key; the
// zero value matches all.
type Filter struct {
	values map[string]map[string]bool
}

// actorKeys are the filters that name an actor: by ID, by a prefix of it, or
// by name.
var actorKeys = map[string]events.Type{
	"container": events.ContainerEventType,
	"image":     events.ImageEventType,
	"volume":    events.VolumeEventType,
	"network":   events.NetworkEventType,
	"daemon":    events.DaemonEventType,
	"plugin":    events.PluginEventType,
	"service":   events.ServiceEventType,
	"node":      events.NodeEventType,
	"secret":    events.SecretEventType,
	"config":    events.ConfigEventType,
}

// NewFilter checks the keys of values, which are docker's.
func NewFilter(values map[string]map[string]bool) (Filter, error) {
	for key := range values {
		if _, ok := actorKeys[key]; ok {
			continue
		}
		switch key {
		case "event", "type", "label", "scope":
		default:
			return Filter{}, fmt.Errorf("invalid filter %q: %w", key, errdefs.ErrInvalidArgument)
		}
	}
	return Filter{values: values}, nil
}

// Match says whether m is selected.
func (f Filter) Match(m events.Message) bool {
	for key, values := range f.values {
		if !anyOf(values, func(v string) bool { return matches(key, v, m) }) {
			return false
		}
	}
	return true
}

func anyOf(values map[string]bool, ok func(string) bool) bool {
	for v := range values {
		if ok(v) {
			return true
		}
	}
	return len(values) == 0
}

func matches(key, value string, m events.Message) bool {
	switch key {
	case "type":
		return string(m.Type) == value
	case "scope":
		return m.Scope == value
	case "event":
		// "health_status" selects "health_status: healthy" too.
		action, _, _ := strings.Cut(string(m.Action), ":")
		return string(m.Action) == value || action == value
	case "label":
		k, v, exact := strings.Cut(value, "=")
		got, ok := m.Actor.Attributes[k]
		return ok && (!exact || got == v)
	case "image":
		return matchesImage(value, m)
	}
	return m.Type == actorKeys[key] && matchesActor(value, m.Actor)
}

func matchesActor(value string, a events.Actor) bool {
	return a.ID == value || a.Attributes["name"] == strings.TrimPrefix(value, "/") ||
		value != "" && strings.HasPrefix(a.ID, value)
}

// matchesImage selects an image's own messages and those of containers made
// from it, with the tag or without.
func matchesImage(value string, m events.Message) bool {
	name := m.Actor.Attributes["name"]
	if m.Type == events.ContainerEventType {
		name = m.Actor.Attributes["image"]
	}
	if name == value || m.Type == events.ImageEventType && m.Actor.ID == value {
		return true
	}
	repo := name
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		repo = name[:i]
	}
	return repo == value
}
