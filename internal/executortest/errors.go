package executortest

import (
	"sort"
	"strings"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// native gives an error that came over a wire its kind again.
func native(err error) error {
	if errdefs.Resolve(err) != errdefs.ErrUnknown {
		return err
	}
	kinds := map[codes.Code]error{
		codes.InvalidArgument:    errdefs.ErrInvalidArgument,
		codes.NotFound:           errdefs.ErrNotFound,
		codes.AlreadyExists:      errdefs.ErrAlreadyExists,
		codes.FailedPrecondition: errdefs.ErrFailedPrecondition,
		codes.Unimplemented:      errdefs.ErrNotImplemented,
		codes.ResourceExhausted:  errdefs.ErrResourceExhausted,
		codes.Internal:           errdefs.ErrInternal,
	}
	if kind, ok := kinds[status.Code(err)]; ok {
		return kind
	}
	return err
}

// sortGroups puts the groups (the third field) in order.
func sortGroups(id string) string {
	fields := strings.Split(id, ":")
	if len(fields) < 3 {
		return id
	}
	groups := strings.Fields(fields[2])
	sort.Strings(groups)
	fields[2] = strings.Join(groups, " ")
	return strings.Join(fields, ":")
}
