package shim

import (
	"context"
	"testing"

	"github.com/containerd/errdefs"
)

// TestSecondHome checks that a container is made in a second home where the
// first has ended before it did anything for it, and only there.
func TestSecondHome(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		second bool
		works  bool
	}{
		"there is one":  {second: true, works: true},
		"there is none": {second: false},
		"it fails, too": {second: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, f, req := newFake(t)
			f.createErr = errdefs.ErrUnavailable
			inner := s.newHome
			s.newHome = func(ctx context.Context, o homeOptions) (*home, error) {
				first, err := inner(ctx, o)
				first.second = func(ctx context.Context) (*home, error) {
					if !tt.second {
						return nil, nil
					}
					if tt.works {
						f.createErr = nil
					}
					return inner(ctx, o)
				}
				return first, err
			}
			if _, err := s.Create(t.Context(), req); (err == nil) != tt.works || err != nil && !errdefs.IsUnavailable(err) {
				t.Errorf("creating the container: %v", err)
			}
		})
	}
}
