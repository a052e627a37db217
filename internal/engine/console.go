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
	// not come up or ended unasked.
	consolesDir = "consoles"
	// keptConsoles is how many of them there are at most.
	keptConsoles = 16
)

// keepConsole puts the console of a machine that did not come up where it
// outlives the bundle, and lets the error that names it say so.
func (s *starter) keepConsole(c *ctr, err error) error {
	text := s.withConsole(c, err.Error())
	if text == err.Error() {
		return err
	}
	return kindError{errors.New(text), err}
}

// withConsole is keepConsole for a text.
func (s *starter) withConsole(c *ctr, text string) string {
	from := filepath.Join(s.bundle(c.id), shimapi.ConsoleLog)
	if !strings.Contains(text, from) {
		return text
	}
	dir := filepath.Join(s.opts.ExecRoot, consolesDir)
	to := filepath.Join(dir, shortID(c.id)+".log")
	if err := os.MkdirAll(dir, 0o710); err != nil {
		return text
	}
	if err := os.Rename(from, to); err != nil {
		return text
	}
	pruneOldest(dir, keptConsoles)
	return strings.ReplaceAll(text, from, to)
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
