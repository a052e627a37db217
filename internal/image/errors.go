package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// sentence is an error whose text is all that a user needs to read, with a
// kind of errdefs and perhaps a cause that the text already tells of.
type sentence struct {
	text  string
	kind  error
	cause error
}

func (e *sentence) Error() string { return e.text }

func (e *sentence) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

func errorf(kind error, format string, args ...any) error {
	wrapped := fmt.Errorf(format, args...)
	return &sentence{text: wrapped.Error(), kind: kind, cause: errors.Unwrap(wrapped)}
}

func noSuchImage(ref string) error {
	return errorf(errdefs.ErrNotFound, "No such image: %s", ref)
}

// explain gives errors that any writing operation can meet a sentence of their own.
func (s *Store) explain(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return errorf(errdefs.ErrResourceExhausted, "%s: no space left on the disk that holds %s: free some (for example by removing images) and try again", doing, s.root)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", doing, err)
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}
