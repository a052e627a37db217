package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"bothy/internal/vm/cache"
)

// keptUncompressed is how many uncompressed kernels a directory holds.
const keptUncompressed = 2

// uncompressedLayout is part of every key: to be raised when what is written
// changes.
const uncompressedLayout = 1

// Uncompressed returns the path of an ELF file with the kernel k, which a
// machine boots by PVH without unpacking it first: under emulation that takes
// longer than anything else in a boot. It is made in dir unless it is there
// already. The error says why there is none, as for a kernel that was built
// without CONFIG_PVH; k.Image boots all the same.
func Uncompressed(ctx context.Context, dir string, k Kernel) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", uncompressedLayout)
	if err := cache.Identify(h, k.Image); err != nil {
		return "", fmt.Errorf("looking up the uncompressed kernel: %w", err)
	}
	files := cache.Cache{Dir: dir, Prefix: "vmlinux-", Suffix: ".elf", Kept: keptUncompressed}
	path, err := files.File(ctx, hex.EncodeToString(h.Sum(nil)[:16]), func(w io.Writer) error {
		return uncompress(w, k.Image, dir)
	})
	if err != nil {
		return "", fmt.Errorf("unpacking the kernel %s: %w", k.Image, err)
	}
	return path, nil
}

// uncompress writes what boots of the image's kernel to w. Meanwhile the whole
// kernel is in a file without a name in dir, rather than in memory.
func uncompress(w io.Writer, image, dir string) error {
	packed, err := os.Open(image)
	if err != nil {
		return err
	}
	defer packed.Close()
	whole, err := os.CreateTemp(dir, "vmlinux-*.tmp")
	if err != nil {
		return err
	}
	defer whole.Close()
	if err := os.Remove(whole.Name()); err != nil {
		return err
	}
	size, err := unpack(whole, packed)
	if err != nil {
		return err
	}
	return writePVH(w, whole, size)
}
