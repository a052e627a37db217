package engine

import (
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
)

// index finds containers by ID, by a unique prefix of it, or by name. A name
// is taken from the moment that it is reserved, before there is a container.
type index struct {
	mu    sync.RWMutex
	byID  map[string]*ctr
	names map[string]string // name, without the slash, to ID
}

func newIndex() *index {
	return &index{byID: map[string]*ctr{}, names: map[string]string{}}
}

// find looks ref up as docker does: a full ID, then a name (a leading slash is
// allowed), then a prefix.
func (x *index) find(ref string) (*ctr, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if c, ok := x.byID[ref]; ok {
		return c, nil
	}
	if c, ok := x.byID[x.names[strings.TrimPrefix(ref, "/")]]; ok {
		return c, nil
	}
	var found *ctr
	for id, c := range x.byID {
		if ref == "" || !strings.HasPrefix(id, ref) {
			continue
		}
		if found != nil {
			return nil, failure(errdefs.ErrInvalidArgument, "multiple IDs found with provided prefix: %s", ref)
		}
		found = c
	}
	if found == nil {
		return nil, failure(errdefs.ErrNotFound, "No such container: %s", ref)
	}
	return found, nil
}

// reserve takes name for id, or says who has it.
func (x *index) reserve(name, id string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if owner, ok := x.names[name]; ok && owner != id {
		return failure(errdefs.ErrConflict, "Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.",
			"/"+name, owner)
	}
	x.names[name] = id
	return nil
}

// release gives name back if it is id's.
func (x *index) release(name, id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.names[name] == id {
		delete(x.names, name)
	}
}

func (x *index) add(c *ctr) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.byID[c.id] = c
}

// remove forgets the container and all names that are reserved for it.
func (x *index) remove(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.byID, id)
	for name, owner := range x.names {
		if owner == id {
			delete(x.names, name)
		}
	}
}

// all lists the containers in no order.
func (x *index) all() []*ctr {
	x.mu.RLock()
	defer x.mu.RUnlock()
	all := make([]*ctr, 0, len(x.byID))
	for _, c := range x.byID {
		all = append(all, c)
	}
	return slices.Clip(all)
}
