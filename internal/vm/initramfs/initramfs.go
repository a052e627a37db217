// Package initramfs makes the root file system that a virtual machine's kernel
// starts from: the shim as PID 1, and the kernel modules that it loads.
//
// It is not compressed: QEMU copies it into the guest's memory, and guests were
// measured to come up no sooner with gzip or zstd, whose work is the guest's.
//
// It knows nothing of QEMU, of containers, or of what the shim does.
package initramfs

import (
	"fmt"
	"io"
	"os"

	"bothy/internal/vm/cpio"
	"bothy/internal/vm/kernel"
)

// Names inside the initramfs.
const (
	// ModulesDir holds the modules as <name>.ko.
	ModulesDir = "/modules"
	// OrderFile names the modules' files, one a line, in the order in which
	// they are to be loaded.
	OrderFile = ModulesDir + "/order"
)

// Build writes the initramfs of machines with the kernel k and the program at
// the path shim as /init. Equal input makes equal bytes.
func Build(w io.Writer, k kernel.Kernel, shim string) error {
	modules, err := k.Modules()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(shim)
	if err != nil {
		return fmt.Errorf("reading the program for the guest: %w", err)
	}
	if err := write(w, modules, program); err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	return nil
}

// write writes the archive.
func write(w io.Writer, modules []kernel.Module, program []byte) error {
	a := cpio.NewWriter(w)
	for _, name := range []string{"dev", "proc", "run", "sys", ModulesDir[1:]} {
		a.Dir(name, 0o755)
	}
	a.Dir("tmp", 0o777)
	a.Device("dev/console", 0o600, 5, 1)
	a.Device("dev/null", 0o666, 1, 3)
	var order []byte
	for _, m := range modules {
		file := m.Name + ".ko"
		a.File(ModulesDir[1:]+"/"+file, 0o644, m.Data)
		order = append(order, file+"\n"...)
	}
	a.File(OrderFile[1:], 0o644, order)
	a.File("init", 0o755, program)
	return a.Close()
}
