// Package sealed copies a program into a sealed memory file: a file that nobody
// can change any more, not even a container that gets hold of it through
// /proc/<pid>/exe. libcontainer makes such a copy for every process it starts
// unless it finds itself running from one, so a program that starts containers
// is best started from a sealed file, made once for all of them.
//
// It is a leaf of its own so that an engine can start shims from such a file
// without linking what shims link.
package sealed

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// seals are those libcontainer looks for.
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// File returns the program at path as a sealed, executable memory file, or path
// itself, opened, if it is one already. Execute it by the name
// /proc/self/fd/<n>. It takes as much memory as the program is long, shared by
// all processes that run from it.
func File(path string) (*os.File, error) {
	src, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("sealing %s: %w", path, err)
	}
	if Is(src) {
		return src, nil
	}
	defer src.Close()
	dst, err := copyTo(src)
	if err != nil {
		return nil, fmt.Errorf("sealing %s: %w", path, err)
	}
	return dst, nil
}

// Is says whether f is a sealed memory file.
func Is(f *os.File) bool {
	have, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	return err == nil && have&seals == seals
}

func copyTo(src *os.File) (_ *os.File, err error) {
	dst, err := create()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			dst.Close()
		}
	}()
	if _, err := io.Copy(dst, src); err != nil {
		return nil, err
	}
	if err := dst.Chmod(0o555); err != nil {
		return nil, err
	}
	if _, err := unix.FcntlInt(dst.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, os.NewSyscallError("fcntl F_ADD_SEALS", err)
	}
	return dst, nil
}

// create makes an executable memory file; MFD_EXEC is asked for where the
// kernel knows it (6.3), because a sysctl may forbid files that don't.
func create() (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("bothy", flags|unix.MFD_EXEC)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("bothy", flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "memfd:bothy"), nil
}
