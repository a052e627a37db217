package logfile

import (
	"bytes"
	"os"
)

// findTail opens the file, and finds the offset in it, from where on just the
// last n of the entries that counts accepts are left (and any that it does
// not). The file is nil if the log has none.
func findTail(path string, n int, counts func(Line) bool) (*os.File, int64, error) {
	var (
		found  *os.File
		offset int64
	)
	err := walk(path, func(file *os.File) (bool, error) {
		if found != nil && same(found, file) { // moved while we looked
			return false, file.Close()
		}
		if found != nil {
			_ = found.Close()
		}
		found = file
		var err error
		offset, n, err = backwards(file, n, counts)
		return n == 0, err
	})
	return found, offset, err
}

// backwards passes over n entries from the end of the file. It returns the
// offset of the first of them and how many are still missing.
func backwards(file *os.File, n int, counts func(Line) bool) (offset int64, missing int, err error) {
	info, err := file.Stat()
	if err != nil {
		return 0, n, err
	}
	start := info.Size() // of what has been read
	var buf []byte       // the file from start to end, or less if that is no entry
	for start > 0 {
		size := min(readSize, start)
		grown := make([]byte, size, int(size)+len(buf))
		if _, err := file.ReadAt(grown, start-size); err != nil {
			return 0, n, err
		}
		start -= size
		if len(buf) <= 2*maxEntry { // else it is no entry however it begins
			grown = append(grown, buf...)
		}
		buf = grown
		for n > 0 {
			cut := bytes.LastIndexByte(bytes.TrimSuffix(buf, []byte("\n")), '\n')
			if cut < 0 {
				break
			}
			if accepted(buf[cut+1:], counts) {
				n--
			}
			buf = buf[:cut+1]
		}
		if cut := bytes.LastIndexByte(buf, '\n'); n == 0 && cut >= 0 {
			return start + int64(cut) + 1, 0, nil
		}
	}
	if n > 0 && accepted(buf, counts) {
		n--
	}
	return 0, n, nil
}

// accepted says whether a line is a whole entry that counts.
func accepted(line []byte, counts func(Line) bool) bool {
	body, ended := bytes.CutSuffix(line, []byte("\n"))
	if !ended {
		return false // the writer is at it, or a crash has torn it
	}
	entry, ok := decode(body)
	return ok && counts(entry)
}
