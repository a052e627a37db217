package accel

import (
	"bytes"
	"encoding/binary"

	"bothy/internal/vm/cpio"
)

// marker is what the guest's first program prints.
const marker = "bothy: guest is up"

// guestProgram returns a static x86-64 ELF program that writes the marker to
// its standard output and waits until it is killed. It needs no file but
// itself, so the probe costs a kernel's boot and nothing more.
func guestProgram() []byte {
	const base, headers = 0x400000, 64 + 56
	text := marker + "\n"
	code := []byte{
		0xb8, 1, 0, 0, 0, // mov eax, 1 (write)
		0xbf, 1, 0, 0, 0, // mov edi, 1 (standard output)
		0x48, 0x8d, 0x35, 18, 0, 0, 0, // lea rsi, [rip+18]: the text
		0xba, byte(len(text)), 0, 0, 0, // mov edx, length
		0x0f, 0x05, // syscall
		0xb8, 34, 0, 0, 0, // wait: mov eax, 34 (pause)
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp wait
		0x90, 0x90, // the text follows
	}
	size := uint64(headers + len(code) + len(text))
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01")
	b.Write(make([]byte, 9))
	for _, field := range []any{
		uint16(2), uint16(62), uint32(1), // executable, x86-64, version
		uint64(base + headers), uint64(64), uint64(0), // entry, program headers, no sections
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000), // load all, read and execute
	} {
		// A Buffer does not fail, and every field has a fixed size.
		_ = binary.Write(&b, binary.LittleEndian, field)
	}
	b.Write(code)
	b.WriteString(text)
	return b.Bytes()
}

// guestArchive returns an initramfs with the program as /init and the console
// that the kernel opens for it.
func guestArchive() []byte {
	var b bytes.Buffer // which does not fail
	a := cpio.NewWriter(&b)
	a.Dir("dev", 0o755)
	a.Device("dev/console", 0o600, 5, 1)
	a.File("init", 0o755, guestProgram())
	_ = a.Close()
	return b.Bytes()
}
