package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"bothy/internal/image"
	"bothy/internal/image/erofs"
)

// layerFiles gives an image's layer files, the lowest first. An image without
// any gets an empty one, because an overlay needs a lower side.
func layerFiles(dataRoot string, img *image.Image) ([]string, error) {
	if len(img.Layers) == 0 {
		empty, err := emptyLayer(dataRoot)
		return []string{empty}, err
	}
	files := make([]string, len(img.Layers))
	for i, l := range img.Layers {
		files[i] = l.File
	}
	return files, nil
}

// emptyLayer gives the path of a layer without anything in it, made on first
// use: the lower side for an image that has no layers.
func emptyLayer(dataRoot string) (_ string, err error) {
	path := filepath.Join(dataRoot, "empty.erofs")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	f, err := os.CreateTemp(dataRoot, "empty-*.tmp")
	if err != nil {
		return "", fmt.Errorf("making an empty layer: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("making an empty layer: %w", errors.Join(err, os.Remove(f.Name())))
		}
	}()
	tar := make([]byte, 1024) // the two blocks that end an archive
	err = erofs.Convert(context.Background(), bytes.NewReader(tar), int64(len(tar)), f, erofs.Options{TempDir: dataRoot})
	if err == nil {
		err = f.Chmod(0o444)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return path, os.Rename(f.Name(), path)
}
