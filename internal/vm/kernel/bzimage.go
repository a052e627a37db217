package kernel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxUnpacked bounds the size of an unpacked kernel, in bytes.
const maxUnpacked = 256 << 20

// payload finds the compressed kernel in a bzImage (Documentation/arch/x86/
// boot.rst in Linux, fields payload_offset and payload_length), and the length
// that it is to have unpacked: the build puts it behind what is compressed.
func payload(image io.ReaderAt) (packed *io.SectionReader, unpacked int64, err error) {
	const (
		sectorsAt, magicAt, versionAt = 0x1f1, 0x202, 0x206
		offsetAt, lengthAt, headerEnd = 0x248, 0x24c, 0x250
		sector, leastVersion          = 512, 0x208
	)
	header := make([]byte, headerEnd)
	if _, err := image.ReadAt(header, 0); err != nil {
		return nil, 0, fmt.Errorf("reading the header: %w", err)
	}
	if !bytes.Equal(header[magicAt:magicAt+4], []byte("HdrS")) || binary.LittleEndian.Uint16(header[versionAt:]) < leastVersion {
		return nil, 0, errors.New("it does not say where its payload is")
	}
	sectors := int64(header[sectorsAt])
	if sectors == 0 { // as the protocol has it
		sectors = 4
	}
	at := (sectors+1)*sector + int64(binary.LittleEndian.Uint32(header[offsetAt:]))
	length := int64(binary.LittleEndian.Uint32(header[lengthAt:]))
	var size [4]byte
	if length <= int64(len(size)) {
		return nil, 0, errors.New("it has no payload")
	}
	if _, err := image.ReadAt(size[:], at+length-int64(len(size))); err != nil {
		return nil, 0, fmt.Errorf("reading the payload's length: %w", err)
	}
	unpacked = int64(binary.LittleEndian.Uint32(size[:]))
	if unpacked > maxUnpacked {
		return nil, 0, fmt.Errorf("unpacked it is larger than %d MiB", maxUnpacked>>20)
	}
	return io.NewSectionReader(image, at, length), unpacked, nil
}

// unpack writes the kernel in a bzImage to w and returns its length. It needs
// memory for a compressor's window, never for all of it.
func unpack(w io.Writer, image io.ReaderAt) (int64, error) {
	packed, size, err := payload(image)
	if err != nil {
		return 0, err
	}
	r, done, err := unpacker(packed)
	if err != nil {
		return 0, err
	}
	defer done()
	n, err := io.CopyN(w, r, size)
	if err != nil {
		return n, fmt.Errorf("unpacking it: %w", err)
	}
	return n, nil
}

// unpacker returns a reader of what packed holds, in the format that its first
// bytes tell, and what frees the reader. The length behind the data is not
// part of any format but gzip's. A kernel packed with xz is not unpacked: it has
// been through a filter for x86 code that the library for xz does not know.
func unpacker(packed *io.SectionReader) (io.Reader, func(), error) {
	const trailer = 4
	var magic [4]byte
	if _, err := packed.ReadAt(magic[:], 0); err != nil {
		return nil, nil, fmt.Errorf("reading the payload: %w", err)
	}
	data := io.NewSectionReader(packed, 0, packed.Size()-trailer)
	none := func() {}
	switch {
	case bytes.HasPrefix(magic[:], []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(packed)
		return r, none, err
	case binary.LittleEndian.Uint32(magic[:]) == 0xfd2fb528:
		// zstd -22, which packs kernels, has a window of 128 MiB.
		r, err := zstd.NewReader(data, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	case binary.LittleEndian.Uint32(magic[:]) == lz4Magic:
		r, err := newLZ4Reader(data)
		return r, none, err
	}
	return nil, nil, fmt.Errorf("its compression, which begins with % x, is not supported", magic)
}
