package engine

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bothy/internal/shimapi"
)

const (
	// consolesDir, below the exec root, has the consoles of machines that did
	// not come up.
	consolesDir = "consoles"
	// keptConsoles is how many of them there are at most.
	keptConsoles = 16
)

// keepConsole puts the console of a machine that did not come up where it
// outlives the bundle, and lets the error that names it say so.
func (s *starter) keepConsole(c *ctr, err error) error {
	from := filepath.Join(s.bundle(c.id), shimapi.ConsoleLog)
	if !strings.Contains(err.Error(), from) {
		return err
	}
	dir := filepath.Join(s.opts.ExecRoot, consolesDir)
	to := filepath.Join(dir, shortID(c.id)+".log")
	if merr := os.MkdirAll(dir, 0o710); merr != nil {
		return err
	}
	if merr := os.Rename(from, to); merr != nil {
		return err
	}
	pruneOldest(dir, keptConsoles)
	return kindError{errors.New(strings.ReplaceAll(err.Error(), from, to)), err}
}

// pruneOldest removes all but the newest files of a directory.
func pruneOldest(dir string, keep int) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var files []os.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b os.FileInfo) int { return cmp.Compare(b.ModTime().UnixNano(), a.ModTime().UnixNano()) })
	for _, f := range files[min(keep, len(files)):] {
		_ = os.Remove(filepath.Join(dir, f.Name()))
	}
}
