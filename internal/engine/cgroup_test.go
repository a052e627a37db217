package engine

import (
	"os"
	"path/filepath"
	"testing"
)

func TestEmptyCgroupIsRemoved(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, dir := range []string{"cpu/bothy", "memory/bothy/busy", "bothy"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o700))
	}
	removeEmptyCgroup(root, "/")
	removeEmptyCgroup(root, "/bothy")
	for dir, want := range map[string]bool{"cpu": true, "cpu/bothy": false, "memory/bothy/busy": true, "bothy": false} {
		if exists(filepath.Join(root, dir)) != want {
			t.Errorf("%s is there: %v", dir, !want)
		}
	}
}
