package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// execsDir, in a bundle, has a file for each process that was started and not
// yet seen to its end, so that the next bothyd finds it.
const execsDir = "execs"

// execFile is what is kept of one.
type execFile struct {
	SchemaVersion int                         `json:"schemaVersion"`
	Request       container.ExecCreateRequest `json:"request"`
	DetachKeys    []byte                      `json:"detachKeys"`
}

func (x *Execs) dir(c *ctr) string {
	return filepath.Join(x.containers.starter.bundle(c.id), execsDir)
}

func (x *Execs) file(e *execution) string { return filepath.Join(x.dir(e.c), e.id+".json") }

// keep writes the file of an execution that is about to be started. It makes no
// bundle: without one the container has just ended.
func (x *Execs) keep(e *execution) error {
	err := os.Mkdir(x.dir(e.c), 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		return failure(errdefs.ErrConflict, "container %s is not running", e.c.id)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return storeError("starting a process in", e.c.id, err)
	}
	return storeError("starting a process in", e.c.id, writeJSON(x.file(e), execFile{schemaVersion, e.req, e.keys}, false))
}

// drop removes the file of one that has ended. If bothyd does not come to it,
// the next one sees its end once more; a bundle takes its files with it.
func (x *Execs) drop(e *execution) {
	if err := os.Remove(x.file(e)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.containers.log.Warn("a process that has ended is still on record", "container", e.c.id, "exec", e.id, "error", err)
	}
}

// rejoin takes up the processes that another bothyd started in a container
// which is found running.
func (x *Execs) rejoin(ctx context.Context, c *ctr, t task) {
	entries, err := os.ReadDir(x.dir(c))
	if err != nil {
		return // there are none
	}
	for _, entry := range entries {
		id, ok := strings.CutSuffix(entry.Name(), ".json")
		if !ok {
			continue
		}
		if err := x.rejoinOne(ctx, c, t, id); err != nil {
			x.containers.log.Warn("a process that another bothyd started is not taken up", "container", c.id, "exec", id, "error", err)
			_ = os.Remove(filepath.Join(x.dir(c), entry.Name()))
		}
	}
}

func (x *Execs) rejoinOne(ctx context.Context, c *ctr, t task, id string) error {
	kept, err := readExecFile(filepath.Join(x.dir(c), id+".json"))
	if err != nil {
		return err
	}
	e := newExecution(id, c, kept.Request, kept.DetachKeys)
	state, err := t.State(ctx, &taskAPI.StateRequest{ID: c.id, ExecID: id})
	if errdefs.IsNotFound(err) { // it ended, or was not made
		x.drop(e)
		return nil
	}
	if err != nil {
		return err
	}
	if state.GetStatus() == tasktypes.Status_CREATED { // bothyd did not live to start it
		x.forget(ctx, e, t)
		return nil
	}
	if err := errors.Join(e.move(execBegin, nil), e.running(int(state.GetPid()))); err != nil {
		return err
	}
	x.containers.execs.add(e)
	x.containers.watchers.Go(func() { x.watch(e, t) })
	return nil
}

func readExecFile(path string) (execFile, error) {
	var kept execFile
	data, err := os.ReadFile(path)
	if err != nil {
		return kept, err
	}
	if err := json.Unmarshal(data, &kept); err != nil {
		return kept, err
	}
	if kept.SchemaVersion != schemaVersion || len(kept.Request.Cmd) == 0 {
		return kept, fmt.Errorf("schema version %d, this bothyd reads %d", kept.SchemaVersion, schemaVersion)
	}
	return kept, nil
}
