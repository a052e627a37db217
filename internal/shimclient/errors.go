package shimclient

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/status"
)

// errorKinds gives the errors of a call the kinds that they had in the shim.
// A shim that has gone is errdefs.ErrUnavailable.
func errorKinds(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, _ *ttrpc.UnaryClientInfo, invoke ttrpc.Invoker) error {
	err := invoke(ctx, req, resp)
	switch {
	case err == nil && resp.GetStatus().GetCode() != 0:
		return errgrpc.ToNative(status.ErrorProto(resp.GetStatus()))
	case err == nil:
		return nil
	case errors.Is(err, ttrpc.ErrClosed) && req.Method == "Shutdown":
		return nil // it may be gone before its answer is
	case errors.Is(err, ttrpc.ErrClosed):
		return fmt.Errorf("the shim has gone: %w", errdefs.ErrUnavailable)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return errgrpc.ToNative(err)
}
