package engineapi

import (
	"errors"
	"strings"

	"github.com/containerd/errdefs"
)

// Sentence is an error's text for a user: without the name of its kind, which
// wrapping has left at its end and which a client has as the answer's status.
func Sentence(err error) string {
	text := err.Error()
	for _, kind := range []error{
		errdefs.ErrInvalidArgument, errdefs.ErrNotFound, errdefs.ErrAlreadyExists, errdefs.ErrConflict, errdefs.ErrFailedPrecondition,
		errdefs.ErrPermissionDenied, errdefs.ErrUnauthenticated, errdefs.ErrNotImplemented, errdefs.ErrUnavailable, errdefs.ErrInternal,
		errdefs.ErrOutOfRange, errdefs.ErrResourceExhausted,
	} {
		if errors.Is(err, kind) { // the kernel says "permission denied", too
			text = strings.TrimSuffix(text, ": "+kind.Error())
		}
	}
	return text
}
