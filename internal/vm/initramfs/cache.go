package initramfs

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bothy/internal/vm/kernel"
)

// Files in a cache directory.
const (
	prefix  = "initramfs-"
	suffix  = ".cpio"
	partial = ".tmp"
)

// kept is how many initramfs a cache directory holds: one for each kernel in
// use, and there are rarely two.
const kept = 4

// layout is part of every key: to be raised when Build's output changes.
const layout = 2

// Cached returns the path of an initramfs for the kernel k and the program at
// the path shim, and builds it in dir unless it is there already. It may be
// called by many at once. A file that it returned is not removed before
// several newer ones have been made; machines that run do not need theirs.
func Cached(ctx context.Context, dir string, k kernel.Kernel, shim string) (string, error) {
	key, err := cacheKey(k, shim)
	if err != nil {
		return "", fmt.Errorf("looking up the initramfs: %w", err)
	}
	path := filepath.Join(dir, prefix+key+suffix)
	now := time.Now()
	err = os.Chtimes(path, now, now) // tells sweep that it is in use
	if err == nil {
		return path, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("looking up the initramfs: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("building the initramfs: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("building the initramfs: %w", err)
	}
	if err := buildFile(path, k, shim); err != nil {
		return "", fmt.Errorf("building the initramfs %s: %w", path, err)
	}
	sweep(dir, now)
	return path, nil
}

// buildFile makes path appear whole or not at all.
func buildFile(path string, k kernel.Kernel, shim string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), prefix+"*"+partial)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<20)
	if err := Build(buffered, k, shim); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	// QEMU reads it as a user of its own.
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return f.Close()
}

// cacheKey is a function of the identity of all that goes into an initramfs.
// A file's identity is its inode with size and change time: cheaper than a
// checksum, and no write to the file leaves it as it was.
func cacheKey(k kernel.Kernel, shim string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%d %q\n", layout, k.Version)
	for _, path := range []string{shim, k.Image, k.ModulesDir} {
		if err := identify(h, path); err != nil {
			return "", err
		}
	}
	// Every kernel package writes these, whichever module it replaces.
	for _, name := range []string{"modules.builtin", "modules.order", "modules.dep", "kernel"} {
		err := identify(h, filepath.Join(k.ModulesDir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

func identify(w io.Writer, path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	_, err := fmt.Fprintf(w, "%q %d %d %d %d.%d\n", path, st.Dev, st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec)
	return err
}

// sweep removes the initramfs that were used longest ago, and what builds that
// were cut short have left. What cannot be removed is tried again next time.
func sweep(dir string, now time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var whole []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		switch {
		case strings.HasSuffix(e.Name(), suffix):
			whole = append(whole, info)
		case strings.HasSuffix(e.Name(), partial) && now.Sub(info.ModTime()) > time.Hour:
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	sort.Slice(whole, func(i, j int) bool { return whole[i].ModTime().After(whole[j].ModTime()) })
	for i := kept; i < len(whole); i++ {
		_ = os.Remove(filepath.Join(dir, whole[i].Name()))
	}
}
