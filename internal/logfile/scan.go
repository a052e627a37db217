package logfile

import (
	"bytes"
	"io"
	"os"
)

// readSize is how many bytes are read from a file at once.
const readSize = 32 << 10

// scanner reads the entries of one file that may still grow.
type scanner struct {
	file   *os.File
	offset int64  // of what comes after buf
	buf    []byte // read and not yet given
	seen   int    // bytes of buf that have no newline
	skip   bool   // within a line that is too long to be an entry
}

func newScanner(file *os.File, offset int64) *scanner {
	return &scanner{file: file, offset: offset}
}

// next gives the next entry, or io.EOF if there is none yet. What is no entry
// it leaves out.
func (s *scanner) next() (Line, error) {
	for {
		end := bytes.IndexByte(s.buf[s.seen:], '\n')
		if end < 0 {
			if err := s.fill(); err != nil {
				return Line{}, err
			}
			continue
		}
		entry := s.buf[:s.seen+end]
		s.buf, s.seen = s.buf[s.seen+end+1:], 0
		if s.skip {
			s.skip = false
			continue
		}
		if line, ok := decode(entry); ok {
			return line, nil
		}
	}
}

// fill reads more behind buf.
func (s *scanner) fill() error {
	s.seen = len(s.buf)
	if s.seen > maxEntry {
		s.buf, s.seen, s.skip = nil, 0, true
	}
	if cap(s.buf)-len(s.buf) < readSize {
		grown := make([]byte, len(s.buf), max(2*len(s.buf), len(s.buf)+readSize))
		copy(grown, s.buf)
		s.buf = grown
	}
	n, err := s.file.ReadAt(s.buf[len(s.buf):len(s.buf)+readSize], s.offset)
	if n > 0 {
		s.buf = s.buf[:len(s.buf)+n]
		s.offset += int64(n)
		return nil
	}
	if err == io.EOF && s.shrunk() {
		return s.fill()
	}
	return err
}

// shrunk begins anew if somebody has truncated the file.
func (s *scanner) shrunk() bool {
	info, err := s.file.Stat()
	if err != nil || info.Size() >= s.offset {
		return false
	}
	s.offset, s.buf, s.seen, s.skip = 0, nil, 0, false
	return info.Size() > 0
}
