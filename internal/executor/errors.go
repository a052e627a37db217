package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// kindCodes gives each kind its code on the wire, the one containerd's clients
// turn into the same kind again.
var kindCodes = []struct {
	kind error
	code codes.Code
}{
	{errdefs.ErrInvalidArgument, codes.InvalidArgument},
	{errdefs.ErrNotFound, codes.NotFound},
	{errdefs.ErrAlreadyExists, codes.AlreadyExists},
	{errdefs.ErrFailedPrecondition, codes.FailedPrecondition},
	{errdefs.ErrNotImplemented, codes.Unimplemented},
	{errdefs.ErrPermissionDenied, codes.PermissionDenied},
	{errdefs.ErrResourceExhausted, codes.ResourceExhausted},
	{errdefs.ErrUnavailable, codes.Unavailable},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{errdefs.ErrInternal, codes.Internal},
}

// taskError is an error as the task service returns it: its text stands alone,
// its kind is found by errors.Is, and ttrpc asks it for a status.
type taskError struct {
	kind  error
	text  string
	cause error
}

func (e *taskError) Error() string   { return e.text }
func (e *taskError) Unwrap() []error { return []error{e.kind, e.cause} }

// GRPCStatus is what ttrpc sends to the client.
func (e *taskError) GRPCStatus() *status.Status {
	for _, k := range kindCodes {
		if errors.Is(e.kind, k.kind) {
			return status.New(k.code, e.text)
		}
	}
	return status.New(codes.Unknown, e.text)
}

// errorf makes an error of a kind. The text doesn't repeat the kind's own.
func errorf(kind error, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &taskError{kind: kind, text: err.Error(), cause: err}
}

// wrap says what was being done when err came up, and keeps its kind; an error
// without one is internal.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return errorf(kindOf(err), "%s: %w", fmt.Sprintf(format, args...), err)
}

func kindOf(err error) error {
	for _, k := range kindCodes {
		if errors.Is(err, k.kind) {
			return k.kind
		}
	}
	return errdefs.ErrInternal
}

// initFault is the start of the texts with which a container's first steps
// report an error: everything up to its end is libcontainer's call chain.
var initFaults = []string{
	"error during container init: ",
	"error executing setns process: ",
	"unable to start container process: ",
}

// userFaults are the words in an init error that say that the image, the
// command or its settings are at fault, and not this machine. Docker's CLI
// reads the same words to choose its exit code.
var userFaults = []string{
	"executable file not found in $PATH",
	"no such file or directory",
	"permission denied",
	"is a directory",
	"not a directory",
	"exec format error",
}

// startError turns libcontainer's error from starting a process into a sentence
// and a kind. Errors of the container's first steps come as text over a pipe,
// so text is all there is to go by.
func startError(err error, format string, args ...any) error {
	text := err.Error()
	for _, f := range initFaults {
		if _, rest, ok := strings.Cut(text, f); ok {
			text = rest
			break
		}
	}
	kind := kindOf(err)
	if !errors.Is(err, os.ErrNotExist) { // a missing file on our side is no fault of the image
		if namesUserFault(text) {
			kind = errdefs.ErrInvalidArgument
		}
	}
	return &taskError{kind: kind, text: fmt.Sprintf(format, args...) + ": " + text, cause: err}
}

func namesUserFault(text string) bool {
	return slices.ContainsFunc(userFaults, func(f string) bool { return strings.Contains(text, f) })
}

// startExitStatus is the exit status of a process that could not be started,
// as shells and docker have it: 127 for a command that isn't there, else 126.
func startExitStatus(err error) uint32 {
	text := err.Error()
	if strings.Contains(text, "executable file not found") || strings.Contains(text, "no such file or directory") {
		return 127
	}
	return 126
}
