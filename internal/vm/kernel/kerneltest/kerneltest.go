// Package kerneltest makes kernels for tests: the files that a kernel package
// has, with modules that hold nothing but what is needed to find and order
// them.
package kerneltest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// Required are the paths, below the modules directory, of the modules that
// every machine needs, with those that each depends on.
func Required() map[string]string {
	return map[string]string{
		"kernel/drivers/virtio/virtio.ko":              "",
		"kernel/drivers/virtio/virtio_ring.ko":         "virtio",
		"kernel/drivers/virtio/virtio_pci.ko":          "virtio_ring,virtio",
		"kernel/drivers/block/virtio_blk.ko":           "virtio,virtio_ring",
		"kernel/drivers/net/virtio_net.ko":             "virtio,virtio_ring",
		"kernel/drivers/char/virtio_console.ko":        "virtio,virtio_ring",
		"kernel/drivers/char/hw_random/virtio-rng.ko":  "virtio",
		"kernel/fs/erofs/erofs.ko":                     "libcrc32c",
		"kernel/lib/libcrc32c.ko":                      "",
		"kernel/fs/overlayfs/overlay.ko":               "",
		"kernel/drivers/scsi/never_needed.ko":          "not_there",
		"kernel/net/bridge/netfilter/also_not_used.ko": "",
	}
}

// Write makes the kernel version below root: an image, the modules, and ext4
// built in.
func Write(t testing.TB, root, version string, modules map[string]string) {
	t.Helper()
	dir := filepath.Join(root, "lib/modules", version)
	WriteFile(t, filepath.Join(root, "boot/vmlinuz-"+version), Image(version))
	WriteFile(t, filepath.Join(dir, "modules.builtin"), []byte("kernel/fs/ext4/ext4.ko\nkernel/net/unix/unix.ko\n"))
	for path, depends := range modules {
		WriteFile(t, filepath.Join(dir, path), Module(depends))
	}
}

// WriteFile writes a file and makes the directories above it.
func WriteFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Image returns the header of a bzImage of that version.
func Image(version string) []byte {
	b := make([]byte, 0x400)
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x20e:], 0x100) // counted from 0x200
	copy(b[0x300:], version+" (builder@host) #1 SMP\x00")
	return b
}

// Module returns an ELF file with a section .modinfo that says what the module
// depends on: names with commas between them.
func Module(depends string) []byte {
	const names = "\x00.modinfo\x00.shstrtab\x00"
	info := "license=GPL\x00depends=" + depends + "\x00"
	const headerSize, sectionSize = 64, 64
	infoAt := uint64(headerSize)
	namesAt := infoAt + uint64(len(info))
	header := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Shoff: namesAt + uint64(len(names)), Ehsize: headerSize, Shentsize: sectionSize, Shnum: 3, Shstrndx: 2,
	}
	copy(header.Ident[:], "\x7fELF\x02\x01\x01")
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: infoAt, Size: uint64(len(info)), Addralign: 1},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names)), Addralign: 1},
	}
	var b bytes.Buffer
	for _, part := range []any{header, []byte(info + names), sections} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			panic(err) // every part has a fixed size
		}
	}
	return b.Bytes()
}
