package dockerapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/common"

	"bothy/internal/engineapi"
)

// errPageNotFound is the answer to a path that no Docker API has; its text is
// docker's, which clients compare.
var errPageNotFound = notFoundError("page not found")

type notFoundError string

func (e notFoundError) Error() string        { return string(e) }
func (e notFoundError) Is(target error) bool { return target == errdefs.ErrNotFound }

// kindError is an error whose text is for the user alone: its kind is known to
// errors.Is and not spelled out.
type kindError struct {
	text string
	kind error
}

func (e *kindError) Error() string { return e.text }
func (e *kindError) Unwrap() error { return e.kind }

// invalid makes an error of kind InvalidArgument.
func invalid(format string, args ...any) error {
	return &kindError{fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument}
}

// notServed makes an error of kind NotImplemented.
func notServed(format string, args ...any) error {
	return &kindError{fmt.Sprintf(format, args...), errdefs.ErrNotImplemented}
}

// statusOf maps an error's kind to its HTTP status.
func statusOf(err error) int {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errdefs.IsNotFound(err):
		return http.StatusNotFound
	case errdefs.IsInvalidArgument(err), errdefs.IsOutOfRange(err):
		return http.StatusBadRequest
	case errdefs.IsAlreadyExists(err), errdefs.IsConflict(err), errdefs.IsFailedPrecondition(err):
		return http.StatusConflict
	case errdefs.IsUnauthorized(err):
		return http.StatusUnauthorized
	case errdefs.IsPermissionDenied(err):
		return http.StatusForbidden
	case errdefs.IsNotModified(err):
		return http.StatusNotModified
	case errdefs.IsNotImplemented(err):
		return http.StatusNotImplemented
	case errdefs.IsDeadlineExceeded(err):
		return http.StatusGatewayTimeout
	case errdefs.IsUnavailable(err), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// writeError answers {"message": "..."}; a 304 has no body.
func writeError(w http.ResponseWriter, status int, err error) {
	if status == http.StatusNotModified {
		w.WriteHeader(status)
		return
	}
	_ = writeJSON(w, status, common.ErrorResponse{Message: engineapi.Sentence(err)})
}

// writeJSON answers with v. An error means that the client has gone.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
