package shim

import (
	"context"
	"fmt"
	"os"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Start starts the container's first process or one that Exec made.
func (s *service) Start(ctx context.Context, req *taskAPI.StartRequest) (*taskAPI.StartResponse, error) {
	t, p, err := s.process(req.ID, req.ExecID)
	if err != nil {
		return nil, err
	}
	resp, err := t.home.Start(ctx, req)
	if err != nil {
		return nil, err
	}
	p.setPid(resp.Pid)
	if req.ExecID == "" {
		t.trace.Mark(traceName, "first process started")
	}
	return resp, nil
}

// Wait answers when the process has ended, its output is in the log and, for
// the container's first, the exit record is written.
func (s *service) Wait(ctx context.Context, req *taskAPI.WaitRequest) (*taskAPI.WaitResponse, error) {
	_, p, err := s.process(req.ID, req.ExecID)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
		return p.exit, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Delete removes a process that has ended, or with its first the container.
func (s *service) Delete(ctx context.Context, req *taskAPI.DeleteRequest) (*taskAPI.DeleteResponse, error) {
	t, p, err := s.process(req.ID, req.ExecID)
	if err != nil {
		return nil, err
	}
	resp, err := t.home.Delete(ctx, req)
	if err != nil {
		return nil, err
	}
	p.deleted(resp)
	<-p.done // bounded: the process is gone
	t.remove(req.ExecID)
	s.mu.Lock()
	s.ended = append(s.ended, p.stdio)
	s.mu.Unlock()
	if req.ExecID == "" {
		s.removeTask(t)
	}
	return resp, nil
}

// throwAway deletes a container that has ended, with its files or without.
func (s *service) throwAway(ctx context.Context, id string) error {
	t, p, err := s.process(id, "")
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	default:
		return fmt.Errorf("container %s runs: %w", id, errdefs.ErrFailedPrecondition)
	}
	if t.home.drop == nil {
		_, err := s.Delete(ctx, &taskAPI.DeleteRequest{ID: id})
		return err
	}
	if err := t.home.drop(); err != nil {
		return err
	}
	t.remove("")
	s.mu.Lock()
	s.ended = append(s.ended, p.stdio)
	s.mu.Unlock()
	s.removeTask(t)
	return nil
}

func (s *service) removeTask(t *task) {
	t.discard()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.task == t {
		s.task = nil
		s.idle.Reset(idleTimeout)
	}
}

// CloseIO ends a process's stdin after what clients have written.
func (s *service) CloseIO(_ context.Context, req *taskAPI.CloseIORequest) (*emptypb.Empty, error) {
	_, p, err := s.process(req.ID, req.ExecID)
	if err != nil {
		return nil, err
	}
	if req.Stdin && p.stdio.in != nil {
		p.stdio.in.close()
	}
	return &emptypb.Empty{}, nil
}

// Connect tells the shim's process id and the container's.
func (s *service) Connect(_ context.Context, req *taskAPI.ConnectRequest) (*taskAPI.ConnectResponse, error) {
	resp := &taskAPI.ConnectResponse{ShimPid: uint32(os.Getpid()), Version: s.version}
	if _, p, err := s.process(req.ID, ""); err == nil {
		resp.TaskPid = p.getPid()
	}
	return resp, nil
}

// Shutdown ends a shim that has no container. With Now it deletes one that has
// ended, too, and nobody counts on what that has written.
func (s *service) Shutdown(ctx context.Context, req *taskAPI.ShutdownRequest) (*emptypb.Empty, error) {
	if req.Now {
		if err := s.throwAway(ctx, req.ID); err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
	}
	s.endFiles()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy || s.task != nil {
		return nil, fmt.Errorf("container %s is there still, it has to be deleted first: %w", s.id, errdefs.ErrFailedPrecondition)
	}
	s.stop()
	return &emptypb.Empty{}, nil
}

// Checkpoint isn't there.
func (s *service) Checkpoint(context.Context, *taskAPI.CheckpointTaskRequest) (*emptypb.Empty, error) {
	return nil, fmt.Errorf("checkpointing a container: %w", errdefs.ErrNotImplemented)
}

// forward makes a call of the home of container id.
func forward[Req, Resp any](ctx context.Context, s *service, id string, call func(*home, context.Context, Req) (*Resp, error), req Req) (*Resp, error) {
	t, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return call(t.home, ctx, req)
}

// State tells what a process does.
func (s *service) State(ctx context.Context, req *taskAPI.StateRequest) (*taskAPI.StateResponse, error) {
	return forward(ctx, s, req.ID, (*home).State, req)
}

// Pids lists the container's processes.
func (s *service) Pids(ctx context.Context, req *taskAPI.PidsRequest) (*taskAPI.PidsResponse, error) {
	return forward(ctx, s, req.ID, (*home).Pids, req)
}

// Stats tells what the container uses.
func (s *service) Stats(ctx context.Context, req *taskAPI.StatsRequest) (*taskAPI.StatsResponse, error) {
	return forward(ctx, s, req.ID, (*home).Stats, req)
}

// Pause stops all of the container's processes.
func (s *service) Pause(ctx context.Context, req *taskAPI.PauseRequest) (*emptypb.Empty, error) {
	return forward(ctx, s, req.ID, (*home).Pause, req)
}

// Resume continues what Pause stopped.
func (s *service) Resume(ctx context.Context, req *taskAPI.ResumeRequest) (*emptypb.Empty, error) {
	return forward(ctx, s, req.ID, (*home).Resume, req)
}

// Kill sends a signal.
func (s *service) Kill(ctx context.Context, req *taskAPI.KillRequest) (*emptypb.Empty, error) {
	return forward(ctx, s, req.ID, (*home).Kill, req)
}

// ResizePty sets a terminal's size.
func (s *service) ResizePty(ctx context.Context, req *taskAPI.ResizePtyRequest) (*emptypb.Empty, error) {
	return forward(ctx, s, req.ID, (*home).ResizePty, req)
}

// Update changes the container's limits.
func (s *service) Update(ctx context.Context, req *taskAPI.UpdateTaskRequest) (*emptypb.Empty, error) {
	return forward(ctx, s, req.ID, (*home).Update, req)
}
