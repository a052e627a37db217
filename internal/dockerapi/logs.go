package dockerapi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// containerLogs sends a container's log: raw for a terminal, else in docker's
// frames; to its end, or with follow until the container's.
func (s *Server) containerLogs(w http.ResponseWriter, r *request) error {
	req, err := logsRequest(r)
	if err != nil {
		return err
	}
	logs, err := s.backend.ContainerLogs(r.Context(), r.name(), req)
	if err != nil {
		return err
	}
	defer logs.Close()
	w.Header().Set("Content-Type", streamType(logs.TTY(), r.version))
	w.WriteHeader(http.StatusOK)
	out := newLogWriter(w, !logs.TTY())
	out.timestamps, out.details = r.boolean("timestamps"), r.boolean("details")
	defer out.close()
	if req.Follow {
		out.startFlushing()
	}
	for {
		line, err := logs.Next(r.Context())
		if errors.Is(err, io.EOF) || r.Context().Err() != nil {
			return nil
		}
		if err != nil {
			return out.fail(err)
		}
		if err := out.line(line); err != nil {
			return err
		}
	}
}

func logsRequest(r *request) (LogsRequest, error) {
	req := LogsRequest{Stdout: r.boolean("stdout"), Stderr: r.boolean("stderr"), Follow: r.boolean("follow"), Tail: -1}
	if !req.Stdout && !req.Stderr {
		return req, invalid("Bad parameters: you must choose at least one stream")
	}
	var err error
	if req.Since, err = r.time("since"); err != nil {
		return req, err
	}
	if req.Until, err = r.time("until"); err != nil {
		return req, err
	}
	if tail := r.query.Get("tail"); tail != "" && tail != "all" {
		n, err := strconv.Atoi(tail)
		if err != nil {
			return req, invalid("tail=%q is neither a number of lines nor \"all\"", tail)
		}
		req.Tail = max(n, -1)
	}
	return req, nil
}

// Docker's stream numbers in a frame's header.
const (
	streamStdout      = 1
	streamStderr      = 2
	streamSystemError = 3
)

// flushEvery bounds how long a followed line waits for others to be sent with.
const flushEvery = 10 * time.Millisecond

// rfc3339NanoFixed is docker's timestamp in logs: of constant width.
const rfc3339NanoFixed = "2006-01-02T15:04:05.000000000Z07:00"

// logWriter writes log lines as an answer's body.
type logWriter struct {
	timestamps, details bool
	framed              bool
	midLine             map[string]bool // streams whose last piece had no newline

	mu    sync.Mutex // guards the fields below, and writing to w
	w     io.Writer
	rc    *http.ResponseController
	live  bool // flush soon after each write
	timer *time.Timer
	last  time.Time
	done  bool
}

func newLogWriter(w http.ResponseWriter, framed bool) *logWriter {
	return &logWriter{w: w, rc: http.NewResponseController(w), framed: framed, midLine: map[string]bool{}}
}

// startFlushing sends the headers, and from now on each line within flushEvery.
func (o *logWriter) startFlushing() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.live = true
	_ = o.rc.Flush()
}

func (o *logWriter) line(l LogLine) error {
	var prefix string
	if !o.midLine[l.Stream] {
		if o.timestamps {
			prefix = l.Time.UTC().Format(rfc3339NanoFixed) + " "
		}
		if o.details {
			prefix += " " // where a log's attributes stand; there are none
		}
	}
	o.midLine[l.Stream] = len(l.Data) > 0 && l.Data[len(l.Data)-1] != '\n'
	stream := byte(streamStdout)
	if l.Stream == "stderr" {
		stream = streamStderr
	}
	return o.write(stream, prefix, l.Data)
}

func (o *logWriter) write(stream byte, prefix string, data []byte) error {
	buf := make([]byte, 0, 8+len(prefix)+len(data))
	if o.framed {
		buf = append(buf, stream, 0, 0, 0)
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(prefix)+len(data)))
	}
	buf = append(append(buf, prefix...), data...)
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := o.w.Write(buf); err != nil {
		return err
	}
	if o.live {
		o.flushSoon()
	}
	return nil
}

// flushSoon is called with mu held.
func (o *logWriter) flushSoon() {
	wait := flushEvery - time.Since(o.last)
	if wait <= 0 {
		o.last = time.Now()
		_ = o.rc.Flush()
		return
	}
	if o.timer == nil {
		o.timer = time.AfterFunc(wait, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.timer = nil
			if !o.done {
				o.last = time.Now()
				_ = o.rc.Flush()
			}
		})
	}
}

// fail tells the client within the stream what broke it off.
func (o *logWriter) fail(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if !o.framed {
		return o.write(streamStdout, "", fmt.Appendf(nil, "Error grabbing logs: %v\n", err))
	}
	return o.write(streamSystemError, "", fmt.Appendf(nil, "Error grabbing logs: %v\n", err))
}

// close ends all writing: the answer is not to be touched after its handler.
func (o *logWriter) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.done = true
	if o.timer != nil {
		o.timer.Stop()
	}
}
