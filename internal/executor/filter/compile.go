package filter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// compilerArg is the one argument of this program when it is a compiler.
const compilerArg = "compile-filter"

// IsCompiler says whether this process was started by Compiled. Main asks before
// it does anything else, and calls Compile if so.
func IsCompiler() bool { return len(os.Args) == 2 && os.Args[1] == compilerArg }

// Compile fills the record that is this process's first descriptor behind stdio
// by the profile on stdin. It is a process's last deed: the filter then holds
// for it.
func Compile() error {
	if !Adopt() {
		return fmt.Errorf("compiling a filter: descriptor %d is no record", recordFD)
	}
	var profile specs.LinuxSeccomp
	if err := json.NewDecoder(os.Stdin).Decode(&profile); err != nil {
		return fmt.Errorf("compiling a filter: %w", err)
	}
	config, err := specconv.SetupSeccomp(&profile)
	if err != nil {
		return fmt.Errorf("compiling a filter: %w", err)
	}
	_, err = seccomp.InitSeccomp(config)
	return err
}

// Compiled returns what Add takes elsewhere: the profile's record, compiled by
// a process of this program's if there is none yet.
func (c *Cache) Compiled(ctx context.Context, profile *specs.LinuxSeccomp) ([]byte, error) {
	r, err := c.Record(profile)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if r.path == "" {
		return io.ReadAll(io.LimitReader(r.File, recordSize))
	}
	text, err := json.Marshal(profile)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", compilerArg)
	cmd.Stdin = bytes.NewReader(text)
	cmd.ExtraFiles = []*os.File{r.File}
	// A profile may forbid the process to end in good order: what counts is
	// whether the record is filled.
	ended := cmd.Run()
	size, err := r.filled()
	if err != nil {
		return nil, err
	}
	if size == 0 {
		return nil, fmt.Errorf("compiling a filter: %w", ended)
	}
	_ = r.Keep() // else the next one compiles again
	return io.ReadAll(io.NewSectionReader(r.File, 0, size))
}

// Add keeps the record of a profile that was compiled elsewhere, by somebody
// who is trusted.
func (c *Cache) Add(profile *specs.LinuxSeccomp, record []byte) error {
	name, err := recordName(profile)
	if err != nil {
		return err
	}
	path := filepath.Join(c.dir, name)
	if _, err := os.Lstat(path); err == nil {
		return nil // there is one, of the same calls
	}
	return keep(path, bytes.NewReader(record))
}
