package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	elfHeaderSize  = 64
	elfSegmentSize = 56
	maxSegments    = 64
	maxNotes       = 64 << 10 // bytes in one segment of notes
	pageSize       = 4096
)

// writePVH copies from the unpacked kernel, an ELF file of size bytes, what is
// needed to boot it by PVH: the header, the segments to be loaded and the notes, of
// which one names the entry (XEN_ELFNOTE_PHYS32_ENTRY, public/elfnote.h in
// Xen). Sections and the table for relocation stay behind.
func writePVH(w io.Writer, kernel io.ReaderAt, size int64) error {
	header, segments, err := readSegments(kernel, size)
	if err != nil {
		return err
	}
	// Everything lies in the new file where it lay in memory modulo a page.
	next := uint64(elfHeaderSize + elfSegmentSize*len(segments))
	from := make([]uint64, len(segments))
	for i := range segments {
		s := &segments[i]
		from[i] = s.Off
		next = (next + pageSize - 1) / pageSize * pageSize
		s.Off = next
		next += s.Filesz
	}
	header.Phoff, header.Phnum = elfHeaderSize, uint16(len(segments))
	header.Shoff, header.Shnum, header.Shstrndx, header.Shentsize = 0, 0, 0, 0
	var front bytes.Buffer
	for _, part := range []any{header, segments} {
		if err := binary.Write(&front, binary.LittleEndian, part); err != nil {
			return err
		}
	}
	written, err := io.Copy(w, &front)
	if err != nil {
		return err
	}
	for i, s := range segments {
		if _, err := w.Write(make([]byte, s.Off-uint64(written))); err != nil {
			return err
		}
		if _, err := io.Copy(w, io.NewSectionReader(kernel, int64(from[i]), int64(s.Filesz))); err != nil {
			return err
		}
		written = int64(s.Off + s.Filesz)
	}
	return nil
}

// readSegments reads the header of an ELF file of size bytes and the segments
// that booting needs. All of them lie in the file and hold no more than it.
func readSegments(kernel io.ReaderAt, size int64) (header elf.Header64, needed []elf.Prog64, err error) {
	if err := binary.Read(io.NewSectionReader(kernel, 0, size), binary.LittleEndian, &header); err != nil {
		return header, nil, fmt.Errorf("reading the ELF header: %w", err)
	}
	ident := string(header.Ident[:elf.EI_VERSION])
	if ident != elf.ELFMAG+string([]byte{byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)}) || elf.Machine(header.Machine) != elf.EM_X86_64 {
		return header, nil, errors.New("it is not a kernel for x86-64")
	}
	if header.Phentsize != elfSegmentSize || header.Phnum > maxSegments || header.Phoff > uint64(size) {
		return header, nil, errors.New("its ELF segments are out of bounds")
	}
	all := make([]elf.Prog64, header.Phnum)
	if err := binary.Read(io.NewSectionReader(kernel, int64(header.Phoff), size), binary.LittleEndian, all); err != nil {
		return header, nil, fmt.Errorf("reading its ELF segments: %w", err)
	}
	pvh, total := false, uint64(0)
	for _, s := range all {
		kind := elf.ProgType(s.Type)
		if kind != elf.PT_LOAD && kind != elf.PT_NOTE {
			continue
		}
		total += min(s.Filesz, maxUnpacked+1)
		if s.Off > uint64(size) || s.Filesz > uint64(size)-s.Off || total > maxUnpacked {
			return header, nil, errors.New("its ELF segments are out of bounds")
		}
		if kind == elf.PT_NOTE && s.Filesz <= maxNotes {
			notes := make([]byte, s.Filesz)
			if _, err := kernel.ReadAt(notes, int64(s.Off)); err != nil {
				return header, nil, fmt.Errorf("reading its notes: %w", err)
			}
			pvh = pvh || hasPVHEntry(notes)
		}
		needed = append(needed, s)
	}
	if !pvh {
		return header, nil, errors.New("it has no entry for PVH (CONFIG_PVH)")
	}
	return header, needed, nil
}

// hasPVHEntry reports whether the notes name an entry for PVH.
func hasPVHEntry(notes []byte) bool {
	const headerSize, physicalEntry = 12, 18
	pad := func(n uint32) uint64 { return (uint64(n) + 3) / 4 * 4 }
	for len(notes) >= headerSize {
		nameSize, dataSize := binary.LittleEndian.Uint32(notes), binary.LittleEndian.Uint32(notes[4:])
		kind := binary.LittleEndian.Uint32(notes[8:])
		notes = notes[headerSize:]
		if pad(nameSize)+pad(dataSize) > uint64(len(notes)) {
			return false
		}
		if kind == physicalEntry && (dataSize == 4 || dataSize == 8) && string(notes[:nameSize]) == "Xen\x00" {
			return true
		}
		notes = notes[pad(nameSize)+pad(dataSize):]
	}
	return false
}
