package ext4

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Clone makes a copy of the file src at dst, which must not exist: by sharing
// its blocks where the host's file system can, else by copying those that hold
// data, so that a sparse file stays sparse. The copy appears whole or not at
// all, readable by its owner only; unlike Create, Clone does not wait for the
// disk, so power lost within seconds may leave an empty file.
func Clone(src, dst string) error {
	from, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("copying a disk: %w", err)
	}
	defer from.Close()
	err = place(dst, func(to *os.File) error {
		if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
			return nil
		}
		return copySparse(to, from)
	})
	if err != nil {
		return fmt.Errorf("copying the disk %s to %s: %w", src, dst, err)
	}
	return nil
}

// copySparse copies what of from holds data to the empty file to.
func copySparse(to, from *os.File) error {
	st, err := from.Stat()
	if err != nil {
		return err
	}
	if err := to.Truncate(st.Size()); err != nil {
		return err
	}
	for at := int64(0); at < st.Size(); {
		start, err := from.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // only holes follow
			return nil
		}
		if err != nil {
			return err
		}
		end, err := from.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := from.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := to.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(to, from, end-start); err != nil {
			return err
		}
		at = end
	}
	return nil
}
