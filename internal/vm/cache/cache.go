// Package cache keeps files that take a while to make and that virtual machines
// boot from.
//
// It knows nothing of what is in them.
package cache

import (
	"bufio"
	"context"
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
)

// partial ends the names of files that are being made.
const partial = ".tmp"

// Cache is the files of one kind in a directory that may hold others: their
// names are Prefix, a key and Suffix.
type Cache struct {
	Dir            string // made when first needed
	Prefix, Suffix string
	Kept           int // how many there are at most
}

// File returns the path of the file that goes by key, and has it written by
// build unless it is there already. It may be called by many at once. A file
// that it returned is not removed before several newer ones have been made;
// machines that run do not need theirs. Anyone may read it: QEMU has a user of
// its own.
func (c Cache) File(ctx context.Context, key string, build func(io.Writer) error) (string, error) {
	path := filepath.Join(c.Dir, c.Prefix+key+c.Suffix)
	now := time.Now()
	err := os.Chtimes(path, now, now) // tells sweep that it is in use
	if err == nil {
		return path, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return "", err
	}
	if err := c.write(path, build); err != nil {
		return "", fmt.Errorf("making %s: %w", path, err)
	}
	c.sweep(now)
	return path, nil
}

// write makes path appear whole or not at all.
func (c Cache) write(path string, build func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(c.Dir, c.Prefix+"*"+partial)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<20)
	if err := build(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
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

// sweep removes the files that were used longest ago, and what builds that were
// cut short have left. What cannot be removed is tried again next time.
func (c Cache) sweep(now time.Time) {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return
	}
	var whole []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), c.Prefix) {
			continue
		}
		switch {
		case strings.HasSuffix(e.Name(), c.Suffix):
			whole = append(whole, info)
		case strings.HasSuffix(e.Name(), partial) && now.Sub(info.ModTime()) > time.Hour:
			_ = os.Remove(filepath.Join(c.Dir, e.Name()))
		}
	}
	sort.Slice(whole, func(i, j int) bool { return whole[i].ModTime().After(whole[j].ModTime()) })
	for i := c.Kept; i < len(whole); i++ {
		_ = os.Remove(filepath.Join(c.Dir, whole[i].Name()))
	}
}

// Identify writes to w, a checksum that becomes a key, the identity of the file
// at path: its inode with size and change time. That is cheaper than its
// contents, and no write to the file leaves it as it was.
func Identify(w io.Writer, path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	_, err := fmt.Fprintf(w, "%q %d %d %d %d.%d\n", path, st.Dev, st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec)
	return err
}
