package engine

import (
	"context"
	"log/slog"
	"strconv"
	"sync"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"bothy/internal/event"
)

// Containers answers for containers. A ref is a full ID, a name, or a unique
// prefix of an ID.
type Containers struct {
	opts    Options
	files   *store
	index   *index
	execs   *execRegistry
	images  imageStore
	starter *starter
	bus     *event.Bus
	log     *slog.Logger

	ctx      context.Context // ends when the engine is closed
	watchers sync.WaitGroup  // one for each running container
	cleaning sync.WaitGroup  // deletions that nobody waits for
	pruning  sync.Mutex      // held by a prune
}

// emit publishes a container's event; more are further attributes, key and value.
func (s *Containers) emit(action events.Action, rec record, more ...string) {
	s.bus.Publish(events.ContainerEventType, action, rec.ID, rec.attributes(more...))
}

// RenameContainer gives the container another name.
func (s *Containers) RenameContainer(ctx context.Context, ref, name string) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	if name == "" {
		return failure(errdefs.ErrInvalidArgument, "Neither old nor new names may be empty")
	}
	name = trimSlash(name)
	if err := checkName(name); err != nil {
		return err
	}
	if err := c.acquire(ctx); err != nil {
		return err
	}
	defer c.release()
	if err := c.check(opRename); err != nil {
		return err
	}
	rec, _ := c.snapshot()
	if name == rec.Name {
		return failure(errdefs.ErrInvalidArgument, "Renaming a container with the same name as its current name")
	}
	if err := s.index.reserve(name, c.id); err != nil {
		return err
	}
	old := rec.Name
	rec.Name = name
	if err := s.files.saveRecord(rec); err != nil {
		s.index.release(name, c.id)
		return err
	}
	c.mu.Lock()
	c.rec = rec
	c.mu.Unlock()
	s.index.release(old, c.id)
	s.emit(events.ActionRename, rec, "oldName", "/"+old)
	return nil
}

func trimSlash(name string) string {
	if name != "" && name[0] == '/' {
		return name[1:]
	}
	return name
}

// ResizeContainer sets the size of the container's terminal, in characters.
func (s *Containers) ResizeContainer(ctx context.Context, ref string, height, width uint16) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	t, err := c.shim(opResize)
	if err != nil {
		return err
	}
	_, err = t.ResizePty(ctx, &taskAPI.ResizePtyRequest{ID: c.id, Height: uint32(height), Width: uint32(width)})
	if err != nil {
		return err
	}
	rec, _ := c.snapshot()
	s.emit(events.ActionResize, rec, "height", strconv.Itoa(int(height)), "width", strconv.Itoa(int(width)))
	return nil
}

// counts gives how many containers there are in all, running, paused, and
// stopped.
func (s *Containers) counts() (all, up, paused, down int) {
	for _, c := range s.index.all() {
		_, st := c.snapshot()
		all++
		switch st.State {
		case container.StateRunning, container.StateRestarting:
			up++
		case container.StatePaused:
			paused++
		default:
			down++
		}
	}
	return all, up, paused, down
}
