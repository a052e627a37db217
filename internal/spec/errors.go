package spec

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// invalidf says that what was asked for is wrong, in any home.
func invalidf(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}

// notYetf says that what was asked for makes sense and is not there.
func notYetf(format string, args ...any) error {
	return errdefs.ErrNotImplemented.WithMessage(fmt.Sprintf(format, args...))
}

func notFoundf(format string, args ...any) error {
	return errdefs.ErrNotFound.WithMessage(fmt.Sprintf(format, args...))
}

// conflictf says that what was asked for does not go with what there is.
func conflictf(format string, args ...any) error {
	return errdefs.ErrConflict.WithMessage(fmt.Sprintf(format, args...))
}
