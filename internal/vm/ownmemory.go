package vm

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ownMemory makes a copy of a template's memory that no other machine shares a
// page with. It takes some tenths of a second. What the guest frees goes back to the
// host without further ado: the file is the machine's.
func ownMemory(template *os.File, size int64) (*os.File, error) {
	f, err := memoryFile(size)
	if err != nil {
		return nil, err
	}
	if err := copyData(f, template); err != nil {
		return nil, errors.Join(fmt.Errorf("copying the template's memory: %w", err), f.Close())
	}
	return f, nil
}

// copyData copies what is not a hole.
func copyData(to, from *os.File) error {
	src, err := reopened(from) // an offset of its own
	if err != nil {
		return err
	}
	defer src.Close()
	for end := int64(0); ; {
		begin, err := src.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		if end, err = src.Seek(begin, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := src.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		if _, err := to.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(to, src, end-begin); err != nil {
			return err
		}
	}
}
