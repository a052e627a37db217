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

// modules are the kernel's modules while they are being loaded.
type modules struct {
	dir    string
	order  []string                 // files, in their order
	loaded map[string]chan struct{} // by the modules' names, closed when loaded
}

// readModules finds the modules in dir.
func readModules(dir string) (*modules, error) {
	m := &modules{dir: dir, loaded: map[string]chan struct{}{}}
	order, err := os.ReadFile(filepath.Join(dir, "order"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	m.order = strings.Fields(string(order))
	for _, file := range m.order {
		m.loaded[moduleName(file)] = make(chan struct{})
	}
	return m, nil
}

func moduleName(file string) string { return strings.TrimSuffix(file, ".ko") }

// load loads the modules and removes their files, which are in memory.
func (m *modules) load() error {
	for _, file := range m.order {
		if err := loadModule(filepath.Join(m.dir, file)); err != nil {
			return fmt.Errorf("loading the kernel module %s: %w", file, err)
		}
		close(m.loaded[moduleName(file)])
	}
	return os.RemoveAll(m.dir)
}

// wait returns when the modules with these names are loaded. One that is not
// among the modules is built into the kernel.
func (m *modules) wait(names ...string) {
	for _, name := range names {
		if c, ok := m.loaded[name]; ok {
			<-c
		}
	}
}

// waitAll returns when all modules are loaded.
func (m *modules) waitAll() {
	for _, c := range m.loaded {
		<-c
	}
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
