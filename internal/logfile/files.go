package logfile

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// highest is the largest number of the log's files, 0 if only the live one is
// there.
func highest(path string) (int, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return 0, present(err)
	}
	found := 0
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		if n, err := strconv.Atoi(suffix); ok && err == nil && n < 1<<16 {
			found = max(found, n)
		}
	}
	return found, nil
}

// walk calls visit with the log's files from the live one to the oldest,
// until it returns true. A rotation meanwhile moves files towards where walk
// looks later: it may see one twice, and misses none. Visit owns the file.
func walk(path string, visit func(*os.File) (done bool, err error)) error {
	last, err := highest(path)
	if err != nil {
		return err
	}
	for i := 0; i <= last+1; i++ {
		file, err := os.Open(numbered(path, i))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if done, err := visit(file); done || err != nil {
			return err
		}
	}
	return nil
}

// oldest opens the oldest of the log's files; nil if there is none.
func oldest(path string) (*os.File, error) {
	var found *os.File
	err := walk(path, func(file *os.File) (bool, error) {
		if found != nil {
			_ = found.Close()
		}
		found = file
		return false, nil
	})
	return found, err
}

// after opens the file that was begun next after cur; nil if cur is the live
// one. If cur has been removed that is the oldest.
func after(path string, cur *os.File) (*os.File, error) {
	var next *os.File
	err := walk(path, func(file *os.File) (bool, error) {
		if same(file, cur) {
			return true, file.Close()
		}
		if next != nil {
			_ = next.Close()
		}
		next = file
		return false, nil
	})
	if err != nil && next != nil {
		_ = next.Close()
		next = nil
	}
	return next, err
}

func same(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}
