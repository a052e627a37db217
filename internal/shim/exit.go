package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/timestamppb"

	"bothy/internal/shimapi"
)

// statsTimeout bounds the question whether memory ran out.
const statsTimeout = 5 * time.Second

// statusUnknown is the exit status of a process of which none is known.
const statusUnknown = 255

// follow waits for a process's end, takes the rest of its output, keeps the
// exit record of the container's first, and then lets Wait answer.
func (s *service) follow(t *task, p *process) {
	defer close(p.done)
	defer p.cancel()
	exit, err := waitHome(t.home, s.id, p)
	p.stdio.finish()
	if p.execID == "" {
		s.record(t, p, exit, err)
		t.trace.Mark(traceName, "exit recorded")
	}
	p.exit = exit
}

// waitHome waits for a process's end. There is an exit in any case, even if
// nobody knows what it was.
func waitHome(h *home, id string, p *process) (*taskAPI.WaitResponse, error) {
	exit, err := h.Wait(p.ctx, &taskAPI.WaitRequest{ID: id, ExecID: p.execID})
	if last := p.last(); err != nil && last != nil { // it was deleted before Wait came to it
		exit, err = &taskAPI.WaitResponse{ExitStatus: last.ExitStatus, ExitedAt: last.ExitedAt}, nil
	}
	if err != nil {
		log.Printf("waiting for the end of process %q: %v", p.execID, err)
		exit = &taskAPI.WaitResponse{ExitStatus: statusUnknown}
	}
	if exit.ExitedAt == nil {
		exit.ExitedAt = timestamppb.Now()
	}
	return exit, err
}

// record keeps the exit of the container's first process. A record that cannot
// be kept is no reason to let nobody know of the exit.
func (s *service) record(t *task, p *process, exit *taskAPI.WaitResponse, waitErr error) {
	record := shimapi.Exit{
		Version:  shimapi.Version,
		Pid:      int(p.getPid()),
		Status:   int(exit.ExitStatus),
		ExitedAt: exit.ExitedAt.AsTime(),
	}
	if err := errors.Join(t.home.err(), waitErr); err != nil {
		record.Error = strings.TrimSuffix(err.Error(), ": "+errdefs.ErrUnavailable.Error()) // people read it
	} else {
		record.OOMKilled = outOfMemory(t.home)
	}
	if err := writeExit(t.state, record, !t.ephemeral); err != nil {
		log.Print(err)
	}
}

// outOfMemory asks the home whether the kernel killed for want of memory. If it
// cannot tell, nobody can.
func outOfMemory(h *home) bool {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	killed, err := h.oomKilled(ctx)
	if err != nil {
		log.Printf("asking whether the container ran out of memory: %v", err)
	}
	return killed
}

// writeExit keeps the exit record, whole or not at all; sync forces it to disk.
func writeExit(dir string, record shimapi.Exit, sync bool) error {
	data, err := json.Marshal(record)
	if err == nil {
		err = writeFile(filepath.Join(dir, shimapi.ExitFile), append(data, '\n'), sync)
	}
	if err != nil {
		return fmt.Errorf("keeping the exit record: %w", err)
	}
	return nil
}

// writeFile replaces the file at path, mode 0600, so that a crash leaves the
// old one or the new one; a crash of the machine does so only with sync.
func writeFile(path string, data []byte, sync bool) error {
	tmp := path + ".tmp"
	file, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil && sync {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
	}
	return err
}
