package engine

import (
	"context"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"bothy/internal/engineapi"
	"bothy/internal/logfile"
	"bothy/internal/shimapi"
	"bothy/internal/spec"
)

// logNone is the log driver that keeps nothing.
const logNone = "none"

// logOptions gives the shim's words for a log configuration that was checked
// at creation.
func logOptions(cfg container.LogConfig, path string) (shimapi.LogOptions, error) {
	log, err := spec.ParseLog(cfg)
	if err != nil || log.Driver == logNone {
		return shimapi.LogOptions{Driver: logNone}, err
	}
	return shimapi.LogOptions{Driver: log.Driver, Path: path, MaxSize: log.MaxSize, MaxFiles: log.MaxFiles}, nil
}

// logPath is where a container's json-file log lies; docker's name for it.
func logPath(dir, id string) string { return filepath.Join(dir, id+"-json.log") }

// ContainerLogs opens the container's log.
func (s *Containers) ContainerLogs(_ context.Context, ref string, req engineapi.LogsRequest) (engineapi.Logs, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, err
	}
	if !req.Stdout && !req.Stderr {
		return nil, failure(errdefs.ErrInvalidArgument, "Bad parameters: you must choose at least one stream")
	}
	rec, _ := c.snapshot()
	if rec.HostConfig.LogConfig.Type == logNone {
		return nil, failure(errdefs.ErrNotImplemented, "configured logging driver does not support reading")
	}
	return c.openLog(rec, req)
}

// openLog needs a log that can be read.
func (c *ctr) openLog(rec record, req engineapi.LogsRequest) (engineapi.Logs, error) {
	r, err := logfile.Open(logPath(c.dir, c.id), logfile.ReadOptions{
		Stdout: req.Stdout, Stderr: req.Stderr,
		Since: req.Since, Until: req.Until, Tail: req.Tail,
		Follow: req.Follow, Done: c.outputEnd(),
	})
	if err != nil {
		return nil, err
	}
	return logs{r, rec.Config.Tty}, nil
}

// outputEnd is closed when the container's present run has ended.
func (c *ctr) outputEnd() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return c.ended
	}
	done := make(chan struct{})
	close(done)
	return done
}

type logs struct {
	*logfile.Reader
	tty bool
}

func (l logs) TTY() bool { return l.tty }

func (l logs) Next(ctx context.Context) (engineapi.LogLine, error) {
	line, err := l.Reader.Next(ctx)
	return engineapi.LogLine(line), err
}
