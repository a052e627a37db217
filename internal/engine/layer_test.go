package engine

import (
	"os"
	"testing"

	"bothy/internal/image"
)

func TestImageWithoutLayersGetsAnEmptyOne(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for range 2 {
		files, err := layerFiles(root, &image.Image{})
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		info, err := os.Stat(files[0])
		if err != nil || info.Size() == 0 || info.Mode().Perm() != 0o444 {
			t.Errorf("%v, %v", info, err)
		}
	}
	left, err := os.ReadDir(root)
	if err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
}
