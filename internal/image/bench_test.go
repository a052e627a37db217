package image

import (
	"os"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// rootfsEnv names the tar of a root file system to measure with, such as
// `mmdebstrap --variant=minbase bookworm debian.tar` makes.
const rootfsEnv = "BOTHY_BENCH_ROOTFS"

func benchRootfs(b *testing.B) string {
	b.Helper()
	p := os.Getenv(rootfsEnv)
	if p == "" {
		b.Skipf("%s does not name the tar of a root file system", rootfsEnv)
	}
	return p
}

func BenchmarkImport(b *testing.B) {
	p := benchRootfs(b)
	for b.Loop() {
		s := openStore(b)
		f := must(os.Open(p))(b)
		if _, err := s.Import(b.Context(), f, ImportOptions{Ref: "debian:bench"}); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func BenchmarkLoad(b *testing.B) {
	p := benchRootfs(b)
	archive := b.TempDir() + "/image.tar"
	layer := must(tarball.LayerFromFile(p))(b)
	img := must(mutate.AppendLayers(empty.Image, layer))(b)
	img = must(mutate.ConfigFile(img, withPlatform(must(img.ConfigFile())(b))))(b)
	writeDockerArchive(b, archive, p, img)
	b.ResetTimer()
	for b.Loop() {
		s := openStore(b)
		f := must(os.Open(archive))(b)
		if _, err := s.Load(b.Context(), f, LoadOptions{}); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func withPlatform(c *v1.ConfigFile) *v1.ConfigFile {
	c.OS, c.Architecture = "linux", "amd64"
	return c
}
