package spec

import (
	"strconv"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
)

// Log is --log-driver and --log-opt, read.
type Log struct {
	Driver   string // "json-file" or "none"
	MaxSize  int64  // bytes; 0: never rotated
	MaxFiles int    // at least 1
}

// ParseLog reads a container's log settings; without any the driver is json-file.
func ParseLog(cfg container.LogConfig) (Log, error) {
	log := Log{Driver: cfg.Type, MaxFiles: 1}
	switch cfg.Type {
	case "":
		log.Driver = "json-file"
	case "json-file":
	case "none":
		if len(cfg.Config) > 0 {
			return log, invalidf("the log driver \"none\" has no options")
		}
		return log, nil
	default:
		return log, notYetf("--log-driver %s: there are json-file and none", cfg.Type)
	}
	for key, value := range cfg.Config {
		if err := log.set(key, value); err != nil {
			return log, err
		}
	}
	if log.MaxFiles > 1 && log.MaxSize == 0 {
		return log, invalidf("--log-opt max-file: it needs max-size too")
	}
	return log, nil
}

func (l *Log) set(key, value string) error {
	switch key {
	case "max-size":
		size, err := units.FromHumanSize(value)
		if err != nil || (size <= 0 && value != "-1") {
			return invalidf("--log-opt max-size: invalid size %q", value)
		}
		l.MaxSize = max(0, size)
	case "max-file":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return invalidf("--log-opt max-file: it must be a number, and at least 1")
		}
		l.MaxFiles = n
	case "mode":
		if value != "blocking" && value != "" {
			return notYetf("--log-opt mode=%s: there is \"blocking\"", value)
		}
	case "compress":
		if on, err := strconv.ParseBool(value); err != nil || on {
			return notYetf("--log-opt compress=%s: rotated logs are not compressed yet", value)
		}
	case "labels", "labels-regex", "env", "env-regex", "tag", "max-buffer-size":
		return notYetf("--log-opt %s is not there yet; leave it out", key)
	default:
		return invalidf("unknown log opt '%s' for json-file log driver", key)
	}
	return nil
}
