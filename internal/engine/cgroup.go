package engine

import (
	"os"
	"path/filepath"
)

// removeEmptyCgroup removes the cgroup below which containers had theirs, in
// every hierarchy below root (cgroup v1 has several). One that is in use stays:
// the kernel removes none that is not empty.
func removeEmptyCgroup(root, parent string) {
	if parent = filepath.Clean("/" + parent); parent == "/" {
		return
	}
	_ = os.Remove(filepath.Join(root, parent))
	hierarchies, err := os.ReadDir(root)
	if err != nil {
		return
	}
	for _, h := range hierarchies {
		if h.IsDir() {
			_ = os.Remove(filepath.Join(root, h.Name(), parent))
		}
	}
}
