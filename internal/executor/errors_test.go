package executor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestErrorsKeepTheirKindOnTheWire(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		kind error
		code codes.Code
	}{
		{errorf(errdefs.ErrNotFound, "x"), errdefs.ErrNotFound, codes.NotFound},
		{wrap(errorf(errdefs.ErrInvalidArgument, "x"), "doing"), errdefs.ErrInvalidArgument, codes.InvalidArgument},
		{wrap(fs.ErrClosed, "doing"), errdefs.ErrInternal, codes.Internal},
		{wrap(context.Canceled, "doing"), context.Canceled, codes.Canceled},
		{errorf(errdefs.ErrNotImplemented, "x"), errdefs.ErrNotImplemented, codes.Unimplemented},
	} {
		if !errors.Is(c.err, c.kind) || status.Code(c.err) != c.code {
			t.Errorf("%v: code %v, want %v", c.err, status.Code(c.err), c.code)
		}
	}
	if wrap(nil, "doing") != nil {
		t.Error("no error was wrapped into one")
	}
}

func TestStartError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    string
		text   string
		kind   error
		status uint32
	}{
		{
			`unable to start container process: error during container init: exec: "foo": executable file not found in $PATH`,
			`starting c: exec: "foo": executable file not found in $PATH`, errdefs.ErrInvalidArgument, 127,
		},
		{
			`unable to start container process: error during container init: exec: "/etc": is a directory`,
			`starting c: exec: "/etc": is a directory`, errdefs.ErrInvalidArgument, 126,
		},
		{
			`unable to start container process: unable to apply cgroup configuration: boom`,
			`starting c: unable to apply cgroup configuration: boom`, errdefs.ErrInternal, 126,
		},
	} {
		err := startError(errors.New(c.err), "starting %s", "c")
		if err.Error() != c.text || !errors.Is(err, c.kind) || startExitStatus(err) != c.status {
			t.Errorf("got %q, kind %v, status %d", err, kindOf(err), startExitStatus(err))
		}
	}
	ours := startError(fmt.Errorf("exec fifo: %w", fs.ErrNotExist), "starting c")
	if errors.Is(ours, errdefs.ErrInvalidArgument) {
		t.Errorf("a missing file of our own is called the user's fault: %v", ours)
	}
}
