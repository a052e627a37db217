package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"net"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"bothy/internal/shimapi"
	"bothy/internal/vm/link"
)

// Files opens a connection to the guest for one request of package rootfs to a
// container's files. Closing it closes the writing side; the guest's end is the
// end of what is read.
func (m *Machine) Files(id string) (net.Conn, error) {
	if m.ended() {
		return nil, m.goneError()
	}
	stream, err := m.session.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("asking the guest of %s for files: %w", m.config.ID, err)
	}
	if err := link.WriteHeader(stream, link.Header{Kind: link.Files, Name: id}); err != nil {
		stream.Close()
		return nil, fmt.Errorf("asking the guest of %s for files: %w", m.config.ID, err)
	}
	return stream, nil
}

// MountFiles has the guest mount the machine's disks as a container's root file
// system, with no container, for Files.
func (m *Machine) MountFiles(ctx context.Context, id string, o *shimapi.FilesOptions) error {
	rootfs, err := guestMounts(m.config.Rootfs, m.serials)
	if err != nil {
		return err
	}
	value, err := json.Marshal(o)
	if err != nil {
		return err
	}
	call := func(ctx context.Context, req *taskAPI.CreateTaskRequest) (*emptypb.Empty, error) {
		answer := &emptypb.Empty{}
		return answer, m.task.conn.Call(ctx, link.GuestService, link.MountFilesMethod, req, answer)
	}
	_, err = forward(ctx, m.task, call, &taskAPI.CreateTaskRequest{
		ID: id, Rootfs: rootfs, Options: &anypb.Any{TypeUrl: shimapi.FilesOptionsURL, Value: value},
	})
	return err
}
