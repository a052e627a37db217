package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// must unwraps a value and an error, in a test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func openStore(tb testing.TB) *Store {
	tb.Helper()
	return openStoreAt(tb, tb.TempDir(), Options{})
}

func openStoreAt(tb testing.TB, root string, o Options) *Store {
	tb.Helper()
	o.Root = root
	s, err := Open(context.Background(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// entry is a file of a test's tar.
type entry struct {
	tar.Header
	body string
}

func file(name, body string) entry {
	return entry{tar.Header{Name: name, Mode: 0o644, Size: int64(len(body)), Typeflag: tar.TypeReg}, body}
}

func dir(name string) entry {
	return entry{tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}, ""}
}

func tarOf(tb testing.TB, entries ...entry) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// configOf makes an image config for uncompressed layers.
func configOf(tb testing.TB, layers ...[]byte) []byte {
	tb.Helper()
	type rootfs struct {
		Type    string          `json:"type"`
		DiffIDs []digest.Digest `json:"diff_ids"`
	}
	r := rootfs{Type: "layers"}
	for _, l := range layers {
		r.DiffIDs = append(r.DiffIDs, digest.FromBytes(l))
	}
	return must(json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "rootfs": r, "created": "2026-01-02T03:04:05Z",
		"config": map[string]any{"Cmd": []string{"sh"}},
	}))(tb)
}

// dockerArchive is what `docker save` writes.
func dockerArchive(tb testing.TB, tags []string, config []byte, layers ...[]byte) []byte {
	tb.Helper()
	var names []string
	var entries []entry
	for _, l := range layers {
		name := digest.FromBytes(l).Encoded() + "/layer.tar"
		names = append(names, name)
		entries = append(entries, file(name, string(l)))
	}
	name := digest.FromBytes(config).Encoded() + ".json"
	entries = append(entries, file(name, string(config)))
	manifest := must(json.Marshal([]map[string]any{{"Config": name, "RepoTags": tags, "Layers": names}}))(tb)
	return tarOf(tb, append(entries, file("manifest.json", string(manifest)))...)
}

// writeDockerArchive writes an image of one uncompressed layer, whose tar is
// the file layer, as a docker archive.
func writeDockerArchive(tb testing.TB, path, layer string, img v1.Image) {
	tb.Helper()
	out := must(os.Create(path))(tb)
	w := tar.NewWriter(out)
	put := func(name string, r io.Reader, size int64) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg}); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.Copy(w, r); err != nil {
			tb.Fatal(err)
		}
	}
	f := must(os.Open(layer))(tb)
	put("layer/layer.tar", f, must(f.Stat())(tb).Size())
	raw := must(img.RawConfigFile())(tb)
	put("config.json", bytes.NewReader(raw), int64(len(raw)))
	m := []byte(`[{"Config":"config.json","RepoTags":["debian:bench"],"Layers":["layer/layer.tar"]}]`)
	put("manifest.json", bytes.NewReader(m), int64(len(m)))
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	if err := out.Close(); err != nil {
		tb.Fatal(err)
	}
}

func descriptorOf(b []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

func contentRef(ref string) content.WriterOpt { return content.WithRef(ref) }
