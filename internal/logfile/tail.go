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
	var buf []byte // the file from start to end, or less if that is no entry
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
		for {
			// A line ends with a newline; the one before it begins it.
			if n == 0 && bytes.HasSuffix(buf, []byte{'\n'}) {
				return start + int64(len(buf)), 0, nil
			}
			body := bytes.TrimSuffix(buf, []byte{'\n'})
			cut := bytes.LastIndexByte(body, '\n')
			if cut < 0 {
				break
			}
			line, ok := decode(body[cut+1:])
			buf = buf[:cut+1]
			if ok && counts(line) && n > 0 {
				n--
			}
		}
	}
	if n == 0 && bytes.HasSuffix(buf, []byte{'\n'}) {
		return int64(len(buf)), 0, nil
	}
	if line, ok := decode(bytes.TrimSuffix(buf, []byte{'\n'})); ok && counts(line) && n > 0 {
		n--
	}
	return 0, n, nil
}
