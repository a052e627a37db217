package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	// flushBatch is how many bytes of entries are enough for one write.
	flushBatch = 32 << 10
	// keepBatch is the largest buffer in bytes that a writer keeps: a batch of
	// ordinary lines fits.
	keepBatch = 48 << 10
)

// WriteOptions say how a log is kept. Sizes are bytes.
type WriteOptions struct {
	// MaxSize is the size past which the file is rotated; 0: never.
	MaxSize int64
	// MaxFiles counts the files kept, the live one included; less than 1
	// means 1.
	MaxFiles int
	// Warn, if not nil, is told once when entries begin to be dropped, and
	// once when they no longer are. It is called with the writer locked.
	Warn func(error)
}

// Writer appends to a log. It never fails its caller: what cannot be written,
// for example on a full disk, is dropped and counted. Every write is of whole
// entries. A nil *Writer is the "none" driver: it keeps nothing.
type Writer struct {
	path string
	opts WriteOptions

	mu      sync.Mutex
	file    *os.File
	size    int64
	torn    bool // the file may end within an entry
	dropped uint64
	failing bool // the last write failed, and Warn was told
	stuck   bool // the last rotation failed, and Warn was told
	batch   []byte
	pending uint64 // entries in batch
	now     func() time.Time
}

// Create opens the log at path for appending, mode 0640, and makes it if it
// isn't there. A half entry that a crash left at its end is ended first.
func Create(path string, opts WriteOptions) (*Writer, error) {
	if opts.MaxFiles < 1 {
		opts.MaxFiles = 1
	}
	w := &Writer{path: path, opts: opts, now: time.Now}
	if err := w.open(); err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	return w, nil
}

// open opens the file at path and finds its size and whether it is torn.
func (w *Writer) open() error {
	file, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return err
	}
	w.file, w.size, w.torn = file, info.Size(), false
	if w.size > 0 {
		last := make([]byte, 1)
		_, err := file.ReadAt(last, w.size-1)
		w.torn = err != nil || last[0] != '\n'
	}
	return nil
}

// Dropped counts the entries that could not be written.
func (w *Writer) Dropped() uint64 {
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// Close closes the file. Streams must have been closed before.
func (w *Writer) Close() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("closing the log: %w", err)
	}
	return nil
}

// Stream gives one stream of output ("stdout" or "stderr") its way into the
// log. All may be used at the same time.
func (w *Writer) Stream(name string) *Stream {
	return &Stream{w: w, name: name}
}

// Stream splits output into lines. It keeps the beginning of a line until its
// end comes, at most 16 KiB of it.
type Stream struct {
	w    *Writer
	name string
	rest []byte
}

// Write logs the lines that p completes. It never fails.
func (s *Stream) Write(p []byte) (int, error) {
	if s.w == nil {
		return len(p), nil
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		p = s.take(p)
		if len(s.w.batch) >= flushBatch {
			s.w.flush()
		}
	}
	s.w.flush()
	return n, nil
}

// take logs or keeps the first line of p, or a part of it, and returns the
// rest of p. The writer is locked.
func (s *Stream) take(p []byte) []byte {
	room := maxText - len(s.rest)
	head := p[:min(room, len(p))]
	end := bytes.IndexByte(head, '\n')
	switch {
	case end >= 0:
		s.w.add(s.name, s.whole(head[:end]), true)
		return p[end+1:]
	case len(head) == room:
		s.w.add(s.name, s.whole(head), false)
		return p[room:]
	}
	s.rest = append(s.rest, head...)
	return nil
}

// whole joins what was kept with p, and keeps nothing.
func (s *Stream) whole(p []byte) []byte {
	if len(s.rest) == 0 {
		return p
	}
	line := append(s.rest, p...)
	s.rest = nil
	return line
}

// Close logs a last line that has no end.
func (s *Stream) Close() error {
	if s.w == nil {
		return nil
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if len(s.rest) == 0 {
		return nil
	}
	s.w.add(s.name, s.whole(nil), false)
	s.w.flush()
	return nil
}

// add puts one entry into the batch, in the next file if this one is full.
// The writer is locked.
func (w *Writer) add(stream string, text []byte, end bool) {
	if w.opts.MaxSize > 0 && w.size+int64(len(w.batch)) >= w.opts.MaxSize {
		w.flush()
		w.rotate()
	}
	w.batch = appendEntry(w.batch, stream, w.now(), text, end)
	w.pending++
}

// flush writes the batch, or drops it. The writer is locked.
func (w *Writer) flush() {
	if len(w.batch) == 0 {
		return
	}
	err := w.write()
	if err != nil {
		w.dropped += w.pending
		if !w.failing {
			w.failing = true
			w.tell(fmt.Errorf("writing the log %s, entries are dropped until it works again: %w", w.path, err))
		}
	} else if w.failing {
		w.failing = false
		w.tell(fmt.Errorf("the log %s is written again; %d entries were dropped", w.path, w.dropped))
	}
	w.pending = 0
	w.batch = w.batch[:0]
	if cap(w.batch) > keepBatch {
		w.batch = nil
	}
}

// write appends the batch; on failure it leaves the file as it was.
func (w *Writer) write() error {
	if w.torn {
		n, err := w.file.Write([]byte{'\n'})
		w.size += int64(n)
		if err != nil {
			return err
		}
		w.torn = false
	}
	n, err := w.file.Write(w.batch)
	if err == nil {
		w.size += int64(n)
		return nil
	}
	if n > 0 && w.takeBack(int64(n)) != nil {
		w.size += int64(n)
		w.torn = true
	}
	return err
}

// takeBack removes the last n bytes, which a write that failed has left.
func (w *Writer) takeBack(n int64) error {
	end, err := w.file.Seek(0, io.SeekCurrent) // where the last write ended
	if err != nil {
		return err
	}
	return w.file.Truncate(end - n)
}

// rotate moves every file one number up and starts a new one. If that cannot
// be done the log goes on in the old file. The writer is locked.
func (w *Writer) rotate() {
	old := w.file
	err := w.shift()
	if err == nil {
		err = w.open()
	}
	if err == nil {
		_ = old.Close()
	} else if !w.stuck {
		w.tell(fmt.Errorf("rotating the log %s, it grows until that works again: %w", w.path, err))
	}
	w.stuck = err != nil
}

// shift frees the name of the live file. The files up to the first that isn't
// there move one number up.
func (w *Writer) shift() error {
	if w.opts.MaxFiles == 1 {
		return present(os.Remove(w.path))
	}
	free := 1
	for ; free < w.opts.MaxFiles-1; free++ {
		if _, err := os.Lstat(numbered(w.path, free)); err != nil {
			break
		}
	}
	for i := free; i > 0; i-- {
		if err := present(os.Rename(numbered(w.path, i-1), numbered(w.path, i))); err != nil {
			return err
		}
	}
	return nil
}

// present drops the error that says a file isn't there.
func present(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// numbered is the name of the i-th file, of which 0 is the live one.
func numbered(path string, i int) string {
	if i == 0 {
		return path
	}
	return path + "." + strconv.Itoa(i)
}

func (w *Writer) tell(err error) {
	if w.opts.Warn != nil {
		w.opts.Warn(err)
	}
}

var _ io.WriteCloser = (*Stream)(nil)
