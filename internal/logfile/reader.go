package logfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// ReadOptions select entries of a log.
type ReadOptions struct {
	Stdout, Stderr bool
	// Since and Until bound the time of an entry, both included; zero: no
	// bound.
	Since, Until time.Time
	// Tail is how many of the last selected entries to begin with; negative:
	// all, 0: none of those that are there at Open.
	Tail int
	// Follow waits for more at the end, until Done is closed and all that was
	// written by then is read, or Until has come.
	Follow bool
	// Done tells that nothing more will be written; nil: that never happens.
	Done <-chan struct{}
}

// Reader reads a log, from its oldest file on. It is used by one goroutine.
type Reader struct {
	path  string
	opts  ReadOptions
	cur   *scanner // nil where there is no file yet
	watch *watch   // nil if not following
	ended bool     // Done was closed before the last look for more
}

// Open opens the log at path. A log without a file is empty.
func Open(path string, opts ReadOptions) (*Reader, error) {
	r := &Reader{path: path, opts: opts}
	if err := r.open(); err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	return r, nil
}

func (r *Reader) open() error {
	if r.opts.Follow { // before the first look, so that nothing is missed
		r.watch = newWatch(r.path)
	}
	var (
		file   *os.File
		offset int64
		err    error
	)
	if r.opts.Tail < 0 {
		file, err = oldest(r.path)
	} else {
		file, offset, err = findTail(r.path, r.opts.Tail, r.counts)
	}
	if file != nil {
		r.cur = newScanner(file, offset)
	}
	return err
}

// Close releases the files.
func (r *Reader) Close() error {
	if r.watch != nil {
		r.watch.close()
	}
	if r.cur != nil {
		return r.cur.file.Close()
	}
	return nil
}

// Next gives the next entry; its Data is the caller's. At the end it returns
// io.EOF, and when ctx ends its error.
func (r *Reader) Next(ctx context.Context) (Line, error) {
	for {
		line, err := r.next()
		if err == nil && r.selects(line) {
			return line, nil
		}
		if err == nil {
			if err := ctx.Err(); err != nil {
				return Line{}, err
			}
			continue
		}
		if !errors.Is(err, io.EOF) {
			return Line{}, fmt.Errorf("reading the log: %w", err)
		}
		if !r.opts.Follow || r.ended {
			return Line{}, io.EOF
		}
		if err := r.wait(ctx); err != nil {
			return Line{}, err
		}
	}
}

// wait returns when there may be more to read, or sets ended.
func (r *Reader) wait(ctx context.Context) error {
	var until <-chan time.Time
	if !r.opts.Until.IsZero() {
		timer := time.NewTimer(time.Until(r.opts.Until))
		defer timer.Stop()
		until = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.opts.Done:
		r.ended = true
	case <-until:
		r.ended = true
	case <-r.watch.changed:
	}
	return nil
}

// next gives the next entry of whatever file has it, or io.EOF for now.
func (r *Reader) next() (Line, error) {
	for {
		if r.cur != nil {
			line, err := r.cur.next()
			if !errors.Is(err, io.EOF) {
				return line, err
			}
		}
		file, err := r.successor()
		if err != nil {
			return Line{}, err
		}
		if file == nil {
			return Line{}, io.EOF
		}
		if r.cur != nil {
			// It was renamed before its successor was made, so all of it is
			// there now; entries may have come since the look above.
			line, err := r.cur.next()
			if !errors.Is(err, io.EOF) {
				_ = file.Close()
				return line, err
			}
			_ = r.cur.file.Close()
		}
		r.cur = newScanner(file, 0)
	}
}

// successor opens the file that was begun after the current one, if there is
// one.
func (r *Reader) successor() (*os.File, error) {
	if r.cur == nil {
		return oldest(r.path)
	}
	return after(r.path, r.cur.file)
}

// counts reports whether an entry is one of those that Tail counts.
func (r *Reader) counts(line Line) bool {
	if line.Stream == "stdout" && !r.opts.Stdout || line.Stream == "stderr" && !r.opts.Stderr {
		return false
	}
	return r.opts.Until.IsZero() || !line.Time.After(r.opts.Until)
}

func (r *Reader) selects(line Line) bool {
	return r.counts(line) && !line.Time.Before(r.opts.Since)
}
