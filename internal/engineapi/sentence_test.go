package engineapi

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
)

func TestSentence(t *testing.T) {
	t.Parallel()
	cases := map[string]error{
		"finding x: it is not there":               fmt.Errorf("finding x: it is not there: %w", errdefs.ErrNotFound),
		"reading y: not found in the box":          errors.New("reading y: not found in the box"),
		"exec: \"/etc/passwd\": permission denied": fmt.Errorf("exec: %q: %w", "/etc/passwd", kinded{syscall.EACCES, errdefs.ErrInvalidArgument}),
		"z": fmt.Errorf("z: %w", fmt.Errorf("%w", errdefs.ErrUnavailable)),
	}
	for want, err := range cases {
		if got := Sentence(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// kinded is an error of a kind that its text does not name.
type kinded struct {
	error
	kind error
}

func (k kinded) Unwrap() error { return k.kind }
