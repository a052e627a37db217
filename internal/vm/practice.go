package vm

import (
	"context"
	"fmt"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/emptypb"

	"bothy/internal/vm/link"
)

// Practice is a container that a machine runs before its own, so that the
// machine has done once what it will do.
type Practice struct {
	// Image is an EROFS file with the container's root. Its length is what the
	// guest takes the slot of the first layer to be for good: see PracticeSize.
	Image string
	// Bundle is a directory with the container's spec, as SpecFile.
	Bundle string
	// Filter is the spec's seccomp filter as GuestOptions have it.
	Filter []byte
}

// PracticeSize is the length in bytes that the practice image is to be extended
// to: no layer is longer.
const PracticeSize = emptyLayer

// practiceID is the practice container's.
const practiceID = "practice"

// Rootfs are the container's mounts; what it writes goes to a directory of the
// machine's fresh disk that Rest removes.
func (p Practice) Rootfs(disk string) []*types.Mount {
	return []*types.Mount{
		{Type: "erofs", Source: p.Image, Target: "l/0", Options: []string{"ro"}},
		{Type: "ext4", Source: disk, Target: "rw"},
		{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=l/0", "upperdir=rw/practice/upper", "workdir=rw/practice/work"}},
	}
}

// Practise runs the practice container in a machine that has been made with its
// rootfs. It must end well.
func (m *Machine) Practise(ctx context.Context, p Practice, disk string) error {
	own := m.config.Filter
	m.config.Filter = func() []byte { return p.Filter }
	defer func() { m.config.Filter = own }()
	err := m.practise(ctx, &taskAPI.CreateTaskRequest{ID: practiceID, Bundle: p.Bundle, Rootfs: p.Rootfs(disk), Stdout: "practice-out", Stderr: "practice-err"})
	if err != nil {
		return fmt.Errorf("running the practice container: %w", err)
	}
	return nil
}

func (m *Machine) practise(ctx context.Context, req *taskAPI.CreateTaskRequest) error {
	if _, err := m.task.Create(ctx, req); err != nil {
		return err
	}
	if _, err := m.task.Start(ctx, &taskAPI.StartRequest{ID: req.ID}); err != nil {
		return err
	}
	w, err := m.task.Wait(ctx, &taskAPI.WaitRequest{ID: req.ID})
	if err != nil {
		return err
	}
	if _, err := m.task.Delete(ctx, &taskAPI.DeleteRequest{ID: req.ID}); err != nil {
		return err
	}
	if w.ExitStatus != 0 {
		return fmt.Errorf("it exited with %d: %w", w.ExitStatus, errdefs.ErrUnknown)
	}
	return nil
}

// Rest makes the guest ready to wait for its container. It runs none.
func (m *Machine) Rest(ctx context.Context) error {
	call := func(ctx context.Context, req *emptypb.Empty) (*emptypb.Empty, error) {
		resp := &emptypb.Empty{}
		return resp, m.task.conn.Call(ctx, link.GuestService, link.RestMethod, req, resp)
	}
	if _, err := forward(ctx, m.task, call, &emptypb.Empty{}); err != nil {
		return fmt.Errorf("putting the guest to rest: %w", err)
	}
	return nil
}
