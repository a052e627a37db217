package kernel

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxModule bounds the size of one module, uncompressed, in bytes.
const maxModule = 64 << 20

// wanted is one module that machines use.
type wanted struct {
	name string
	// optional says that it is taken where the kernel has it as a module. Where
	// it has not, it is built in or does not exist in that version.
	optional bool
}

// modules are what machines use, in the order in which the guest needs them:
// it goes on with what it can while others are loaded. First the port that
// carries the link to the host, then sockets and the network, then disks. The
// checksums are those that erofs and ext4 ask the crypto layer for by name: a
// guest has no modprobe that could answer. Last what
// gives the host back memory that is free.
var modules = []wanted{
	{name: "virtio_pci"}, {name: "virtio_console"},
	{name: "unix", optional: true}, {name: "virtio_net"}, {name: "ipv6", optional: true}, {name: "af_packet", optional: true},
	{name: "crc32c_generic", optional: true}, {name: "crc32c_cryptoapi", optional: true},
	{name: "virtio_blk"}, {name: "erofs"}, {name: "ext4"}, {name: "overlay"},
	{name: "virtio_balloon", optional: true},
}

// Module is one kernel module, ready to be loaded.
type Module struct {
	Name string // with "_" for "-": "virtio_pci"
	Data []byte // the ELF file, uncompressed, its signature still at the end
}

// Modules returns the modules that a machine needs and the kernel does not have
// built in, each behind those it depends on.
func (k Kernel) Modules() ([]Module, error) {
	idx, err := readIndex(k.ModulesDir)
	if err != nil {
		return nil, fmt.Errorf("reading the modules of kernel %s: %w", k.Version, err)
	}
	l := loader{index: idx, state: map[string]loadState{}}
	for _, m := range modules {
		if _, ok := idx.files[m.name]; !ok && m.optional {
			continue
		}
		if err := l.add(m.name); err != nil {
			return nil, fmt.Errorf("reading the modules of kernel %s: %w", k.Version, err)
		}
	}
	return l.order, nil
}

// index says where a kernel's modules are.
type index struct {
	files   map[string]string // module name -> file
	builtin map[string]bool
}

// readIndex lists the modules in dir. Where a name is there twice, the one in
// updates/ wins, as with depmod.
func readIndex(dir string) (index, error) {
	idx := index{files: map[string]string{}}
	data, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil && !os.IsNotExist(err) {
		return index{}, err
	}
	idx.builtin = parseBuiltin(data)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, ok := moduleName(path); ok && !d.IsDir() {
			idx.files[name] = path
		}
		return nil
	})
	if err != nil {
		return index{}, err
	}
	return idx, nil
}

// lacking returns the modules without which no machine runs and that are
// neither built in nor a file.
func (idx index) lacking() []string {
	var lacks []string
	for _, m := range modules {
		if _, ok := idx.files[m.name]; !ok && !idx.builtin[m.name] && !m.optional {
			lacks = append(lacks, m.name)
		}
	}
	return lacks
}

// parseBuiltin reads a modules.builtin file: one path a line.
func parseBuiltin(data []byte) map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		if name, ok := moduleName(strings.TrimSpace(line)); ok {
			names[name] = true
		}
	}
	return names
}

// moduleName returns the name of the module in the file at path, and whether
// it is one.
func moduleName(path string) (string, bool) {
	base := filepath.Base(path)
	for _, suffix := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if name, ok := strings.CutSuffix(base, suffix); ok && name != "" {
			return strings.ReplaceAll(name, "-", "_"), true
		}
	}
	return "", false
}

// loader collects modules in the order in which they can be loaded.
type loader struct {
	index index
	order []Module
	state map[string]loadState
}

type loadState int

const (
	unseen loadState = iota
	visiting
	done
)

// add appends the module name behind its dependencies, unless it is built in
// or there already.
func (l *loader) add(name string) error {
	switch l.state[name] {
	case done:
		return nil
	case visiting:
		return fmt.Errorf("the module %s depends on itself", name)
	}
	file, ok := l.index.files[name]
	if !ok {
		if l.index.builtin[name] {
			l.state[name] = done
			return nil
		}
		return fmt.Errorf("the module %s is missing", name)
	}
	l.state[name] = visiting
	data, err := readModule(file)
	if err != nil {
		return fmt.Errorf("reading the module %s: %w", file, err)
	}
	depends, err := dependencies(data)
	if err != nil {
		return fmt.Errorf("reading the module %s: %w", file, err)
	}
	for _, dep := range depends {
		if err := l.add(dep); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	l.state[name] = done
	l.order = append(l.order, Module{Name: name, Data: data})
	return nil
}

// readModule returns the uncompressed contents of a module's file.
func readModule(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := decompress(f, filepath.Ext(path))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxModule {
		return nil, fmt.Errorf("it is larger than %d MiB", maxModule>>20)
	}
	return data, nil
}

// decompress returns a reader of what r holds in the format of the extension.
func decompress(r io.Reader, ext string) (io.Reader, error) {
	switch ext {
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		return xz.NewReader(r)
	case ".zst":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*maxModule))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return r, nil
}

// dependencies returns the names of the modules that the one in data, an ELF
// file, must find loaded.
func dependencies(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("it has no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	return parseDepends(info), nil
}

// parseDepends reads the "depends=a,b" entries of a .modinfo section, whose
// entries end in NUL bytes.
func parseDepends(info []byte) []string {
	var names []string
	for entry := range strings.SplitSeq(string(info), "\x00") {
		value, ok := strings.CutPrefix(entry, "depends=")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(value, ",") {
			if name != "" {
				names = append(names, strings.ReplaceAll(name, "-", "_"))
			}
		}
	}
	return names
}
