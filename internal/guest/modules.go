package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// modulesDir is where the initramfs has the kernel modules, and a file that
// names them in the order in which they are to be loaded. A kernel that has
// everything built in has no such directory.
const modulesDir = "/modules"

// loadModules loads the modules in dir and removes their files, which are in
// memory.
func loadModules(dir string) error {
	order, err := os.ReadFile(filepath.Join(dir, "order"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(order)) {
		if err := loadModule(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("loading the kernel module %s: %w", name, err)
		}
	}
	return os.RemoveAll(dir)
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, unix.EEXIST) { // built in, or another's dependency
		return nil
	}
	return err
}
