package initramfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"bothy/internal/vm/cache"
	"bothy/internal/vm/kernel"
)

// kept is how many initramfs a cache directory holds: one for each kernel in
// use, and there are rarely two.
const kept = 4

// layout is part of every key: to be raised when Build's output changes.
const layout = 2

// Cached returns the path of an initramfs for the kernel k and the program at
// the path shim, and builds it in dir unless it is there already. It may be
// called by many at once.
func Cached(ctx context.Context, dir string, k kernel.Kernel, shim string) (string, error) {
	key, err := cacheKey(k, shim)
	if err != nil {
		return "", fmt.Errorf("looking up the initramfs: %w", err)
	}
	files := cache.Cache{Dir: dir, Prefix: "initramfs-", Suffix: ".cpio", Kept: kept}
	path, err := files.File(ctx, key, func(w io.Writer) error { return Build(w, k, shim) })
	if err != nil {
		return "", fmt.Errorf("building the initramfs: %w", err)
	}
	return path, nil
}

// cacheKey is a function of the identity of all that goes into an initramfs.
func cacheKey(k kernel.Kernel, shim string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%d %q\n", layout, k.Version)
	for _, path := range []string{shim, k.Image, k.ModulesDir} {
		if err := cache.Identify(h, path); err != nil {
			return "", err
		}
	}
	// Every kernel package writes these, whichever module it replaces.
	for _, name := range []string{"modules.builtin", "modules.order", "modules.dep", "kernel"} {
		err := cache.Identify(h, filepath.Join(k.ModulesDir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
