package daemon

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/sirupsen/logrus"
)

// logger gives bothyd's own log, written to w.
func (c *Config) logger(w io.Writer) (*slog.Logger, error) {
	level, err := logLevel(c.LogLevel)
	if err != nil {
		return nil, err
	}
	if c.Debug {
		level = slog.LevelDebug
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return slog.New(slog.NewTextHandler(w, opts)), nil
}

// levelFatal is above all that is logged while bothyd runs.
const levelFatal = slog.LevelError + 4

func logLevel(name string) (slog.Level, error) {
	switch name {
	case "trace", "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	case "fatal", "panic":
		return levelFatal, nil
	}
	return 0, fmt.Errorf("--log-level %q: choose debug, info, warn, error or fatal", name)
}

// quietLibraries sends what containerd's libraries say by themselves to log,
// at debug level: what matters of it comes back as an error.
func quietLibraries(log *slog.Logger) {
	logrus.SetOutput(slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer())
	logrus.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true, DisableColors: true})
}
