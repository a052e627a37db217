package kernel

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"bothy/internal/vm/kernel/kerneltest"
)

// code is long enough for two of LZ4's blocks.
func code() []byte { return bytes.Repeat([]byte("some code, "), (lz4Block+100)/11) }

func pack(t testing.TB, data []byte, packer func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := packer(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// lz4Literally packs data into LZ4's legacy format without making it smaller.
func lz4Literally(data []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, lz4Magic)
	for len(data) > 0 {
		part := data[:min(len(data), lz4Block)]
		data = data[len(part):]
		block := []byte{0xf0}
		n := len(part) - 15
		for ; n >= 255; n -= 255 {
			block = append(block, 255)
		}
		block = append(append(block, byte(n)), part...)
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(block))), block...)
	}
	return b
}

func images(t testing.TB, kernel []byte) map[string][]byte {
	t.Helper()
	size := len(kernel)
	return map[string][]byte{
		"gzip": kerneltest.ImageOf("6.1.0", pack(t, kernel, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }), size, true),
		"zstd": kerneltest.ImageOf("6.1.0", pack(t, kernel, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }), size, false),
		"lz4":  kerneltest.ImageOf("6.1.0", lz4Literally(kernel), size, false),
	}
}

func uncompressed(t *testing.T, image []byte) (path, dir string, err error) {
	t.Helper()
	dir = t.TempDir()
	k := Kernel{Image: filepath.Join(t.TempDir(), "vmlinuz")}
	kerneltest.WriteFile(t, k.Image, image)
	path, err = Uncompressed(context.Background(), dir, k)
	return path, dir, err
}

func TestUncompressed(t *testing.T) {
	t.Parallel()
	want := code()
	for name, image := range images(t, kerneltest.Bootable(want, true)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, _, err := uncompressed(t, image)
			if err != nil {
				t.Fatal(err)
			}
			f, err := elf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if len(f.Sections) != 0 || len(f.Progs) != 2 || f.Entry != 0x1000000 {
				t.Fatalf("%d sections, %d segments, entry %#x", len(f.Sections), len(f.Progs), f.Entry)
			}
			got, err := io.ReadAll(f.Progs[0].Open())
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("the code is not what was packed: %d bytes of %d, %v", len(got), len(want), err)
			}
			notes, err := io.ReadAll(f.Progs[1].Open())
			if err != nil || !hasPVHEntry(notes) {
				t.Errorf("notes %q, %v", notes, err)
			}
		})
	}
}

func TestUncompressedRefuses(t *testing.T) {
	t.Parallel()
	small := []byte("code of some length")
	good := images(t, kerneltest.Bootable(small, true))["lz4"]
	large := bytes.Clone(good)
	binary.LittleEndian.PutUint32(large[len(large)-4:], maxUnpacked+1)
	old := bytes.Clone(good)
	binary.LittleEndian.PutUint16(old[0x206:], 0x207)
	longer := bytes.Clone(good)
	binary.LittleEndian.PutUint32(longer[0x24c:], 1<<31)
	xz := kerneltest.ImageOf("6.1.0", []byte("\xfd7zXZ\x00"), 7, false)
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"no entry":        {images(t, kerneltest.Bootable(small, false))["gzip"], "no entry for PVH"},
		"no ELF":          {images(t, bytes.Repeat([]byte("x"), 1000))["zstd"], "not a kernel for x86-64"},
		"too large":       {large, "larger than 256 MiB"},
		"old":             {old, "does not say where its payload is"},
		"beyond the end":  {longer, "payload's length"},
		"xz":              {xz, "fd 37 7a 58, is not supported"},
		"only the header": {kerneltest.Image("6.1.0"), "does not say where its payload is"},
		"empty":           {nil, "reading the header"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, dir, err := uncompressed(t, c.image)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestLZ4Copies(t *testing.T) {
	t.Parallel()
	for packed, want := range map[string]string{
		"\x30abc":                    "abc",
		"\x31abc\x03\x00\x10d":       "abcabcabd"[:8] + "d", // 5 bytes from 3 back
		"\x1fa\x01\x00\x02\x10b":     strings.Repeat("a", 1+4+15+2) + "b",
		"\x10a\x02\x00":              "", // from before the beginning
		"\x10a\x00\x00":              "", // from nowhere
		"\x20a":                      "", // cut
		"\xf0" + "\xff":              "", // a length cut
		"\x1fa\x01\x00\xff\xff\xff0": "", // beyond the block
	} {
		got, err := lz4Unpack(make([]byte, 0, 64), []byte(packed))
		if want == "" && err == nil || want != "" && string(got) != want {
			t.Errorf("%q: got %q, %v, want %q", packed, got, err, want)
		}
	}
}

func FuzzUncompressed(f *testing.F) {
	for _, image := range images(f, kerneltest.Bootable([]byte("some code"), true)) {
		f.Add(image)
	}
	f.Fuzz(func(t *testing.T, image []byte) {
		var whole bounded
		n, err := unpack(&whole, bytes.NewReader(image))
		if n > maxUnpacked {
			t.Errorf("%d bytes", n)
		}
		if err == nil {
			_ = writePVH(io.Discard, bytes.NewReader(whole.b), n)
		}
	})
}

// bounded keeps the first MiB of what is written to it.
type bounded struct{ b []byte }

func (w *bounded) Write(p []byte) (int, error) {
	w.b = append(w.b, p[:min(len(p), max(0, 1<<20-len(w.b)))]...)
	return len(p), nil
}

func FuzzWritePVH(f *testing.F) {
	f.Add(kerneltest.Bootable([]byte("some code"), true))
	f.Fuzz(func(t *testing.T, kernel []byte) {
		var b bytes.Buffer
		if writePVH(&b, bytes.NewReader(kernel), int64(len(kernel))) != nil {
			return
		}
		if b.Len() > maxUnpacked+maxSegments*2*pageSize {
			t.Errorf("%d bytes of %d", b.Len(), len(kernel))
		}
		if _, _, err := readSegments(bytes.NewReader(b.Bytes()), int64(b.Len())); err != nil {
			t.Errorf("what was written is not what is needed: %v", err)
		}
	})
}
