package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// maxFile bounds daemon.json, in bytes.
const maxFile = 1 << 20

// readFile merges daemon.json at path into c. A file that is not there is an
// error only where the user named it.
func (c *Config) readFile(path string, flags *pflag.FlagSet, named bool) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	if err == nil {
		err = c.merge(data, flags)
	}
	if err != nil {
		return fmt.Errorf("reading the configuration %s: %w", path, err)
	}
	return nil
}

// merge takes the settings of a daemon.json into c: every key must be known,
// and none given as a flag as well.
func (c *Config) merge(data []byte, flags *pflag.FlagSet) error {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))) // a byte order mark, as editors leave it
	if len(data) == 0 {
		return nil
	}
	var settings map[string]json.RawMessage
	if err := json.Unmarshal(data, &settings); err != nil {
		return err
	}
	byKey := fileKeys()
	var unknown, twice []string
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		name := byKey[key]
		if name == "" {
			name = key
		}
		flag := flags.Lookup(name)
		switch {
		case flag == nil || isFlagOnly(key) || name == key && renamed(byKey, key):
			unknown = append(unknown, key)
		case flag.Changed:
			twice = append(twice, fmt.Sprintf("%s: (from flag: %s, from file: %s)", key, flag.Value, settings[key]))
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("the following directives don't match any configuration option: %s", strings.Join(unknown, ", "))
	}
	if len(twice) > 0 {
		return fmt.Errorf("the following directives are specified both as a flag and in the configuration file: %s", strings.Join(twice, ", "))
	}
	return json.Unmarshal(data, c)
}

// isFlagOnly says that a flag is no setting.
func isFlagOnly(name string) bool {
	return slices.Contains([]string{"config-file", "validate", "version", "help"}, name)
}

// renamed says that key is a flag whose key in the file is another.
func renamed(byKey map[string]string, key string) bool {
	for _, flag := range byKey {
		if flag == key {
			return true
		}
	}
	return false
}
