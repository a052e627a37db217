package kerneltest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// Bootable returns an ELF kernel with a segment that holds code, one that has
// notes, which name an entry for PVH if pvh says so, and something behind them
// that no machine needs.
func Bootable(code []byte, pvh bool) []byte {
	const headerSize, segmentSize, segments = 64, 56, 2
	kind := uint32(18)
	if !pvh {
		kind = 19
	}
	var notes bytes.Buffer
	put(&notes, []uint32{4, 5, 1}, []byte("GNU\x00hello\x00\x00\x00"), []uint32{4, 8, kind}, []byte("Xen\x00"), uint64(0x1000850))
	codeAt := uint64(headerSize + segments*segmentSize)
	notesAt := codeAt + uint64(len(code))
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: 0x1000000,
		Phoff: headerSize, Ehsize: headerSize, Phentsize: segmentSize, Phnum: segments, Shoff: 1, Shnum: 1,
	}
	copy(header.Ident[:], "\x7fELF\x02\x01\x01")
	var b bytes.Buffer
	put(&b, header, []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Off: codeAt, Paddr: 0x1000000, Filesz: uint64(len(code)), Memsz: uint64(len(code))},
		{Type: uint32(elf.PT_NOTE), Off: notesAt, Filesz: uint64(notes.Len()), Memsz: uint64(notes.Len()), Align: 4},
	}, code, notes.Bytes(), []byte("relocations"))
	return b.Bytes()
}

// ImageOf returns a bzImage of that version whose payload is packed, a kernel
// of size bytes. gzip's format ends in that size by itself, and so does
// packed then.
func ImageOf(version string, packed []byte, size int, gzip bool) []byte {
	const sectors = 3
	b := Image(version)
	b[0x1f1] = sectors
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	b = append(b, make([]byte, (sectors+1)*512-len(b))...)
	if !gzip {
		packed = binary.LittleEndian.AppendUint32(packed[:len(packed):len(packed)], uint32(size))
	}
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(len(packed)))
	return append(b, packed...)
}

func put(b *bytes.Buffer, parts ...any) {
	for _, part := range parts {
		if err := binary.Write(b, binary.LittleEndian, part); err != nil {
			panic(err) // every part has a fixed size
		}
	}
}
