package vm

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// openBootFile opens a kernel or initramfs so that QEMU, which runs as nobody
// in particular, can open it again through its descriptor. One that only its
// owner may read is copied to memory.
func openBootFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening what the virtual machine boots: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o004 != 0 {
		return f, nil
	}
	defer f.Close()
	if err != nil {
		return nil, fmt.Errorf("opening what the virtual machine boots: %w", err)
	}
	fd, err := unix.MemfdCreate("boot", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("copying %s to memory: %w", path, err)
	}
	mem := os.NewFile(uintptr(fd), path)
	if _, err = io.Copy(mem, f); err == nil {
		err = mem.Chmod(0o444)
	}
	if err != nil {
		mem.Close()
		return nil, fmt.Errorf("copying %s to memory: %w", path, err)
	}
	return mem, nil
}
