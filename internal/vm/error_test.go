package vm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestShortenedKeepsTheKind(t *testing.T) {
	t.Parallel()
	long := shortened(fmt.Errorf("%s: %w", strings.Repeat("x", 1<<20), errdefs.ErrNotFound))
	if !errdefs.IsNotFound(long) || len(long.Error()) > maxError+100 {
		t.Errorf("%d bytes: %.60v", len(long.Error()), long)
	}
	short := fmt.Errorf("no such thing: %w", errdefs.ErrNotFound)
	if got := shortened(short); got != short {
		t.Errorf("a short one was changed: %v", got)
	}
}
