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

// write writes the archive. Names in it have no leading slash.
func write(w io.Writer, modules []kernel.Module, program []byte) error {
	a := &archive{w: w}
	for _, name := range []string{"dev", "proc", "run", "sys", ModulesDir[1:]} {
		a.dir(name, 0o755)
	}
	a.dir("tmp", 0o777)
	a.device("dev/console", 0o600, 5, 1)
	a.device("dev/null", 0o666, 1, 3)
	var order []byte
	for _, m := range modules {
		file := m.Name + ".ko"
		a.file(ModulesDir[1:]+"/"+file, 0o644, m.Data)
		order = append(order, file+"\n"...)
	}
	a.file(OrderFile[1:], 0o644, order)
	a.file("init", 0o755, program)
	return a.close()
}
