package engine

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
)

// Exit codes of a container whose command never ran; docker's.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitUnknown       = 128
	exitKilled        = 137 // by SIGKILL
	exitLost          = 255 // nobody saw the end
)

// startFailure gives a failed start its exit code and its kind, by the text of
// the error, as docker and its CLI do: the text comes from the kernel and has
// come a long way.
func startFailure(err error) (code int, _ error) {
	text := err.Error()
	switch {
	case errors.Is(err, errdefs.ErrUnavailable), errors.Is(err, errdefs.ErrResourceExhausted), errors.Is(err, errdefs.ErrNotImplemented):
		return exitUnknown, err
	case strings.Contains(text, "executable file not found"), strings.Contains(text, syscall.ENOENT.Error()):
		return exitNotFound, kindError{err, errdefs.ErrInvalidArgument}
	case strings.Contains(text, syscall.EACCES.Error()), strings.Contains(text, syscall.EISDIR.Error()), strings.Contains(text, syscall.ENOEXEC.Error()):
		return exitNotExecutable, kindError{err, errdefs.ErrInvalidArgument}
	case strings.Contains(text, syscall.ENOTDIR.Error()):
		return exitNotExecutable, kindError{
			fmt.Errorf("%w: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type", err),
			errdefs.ErrInvalidArgument,
		}
	}
	return exitUnknown, err
}
