package image

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/containerd/errdefs"
)

// FuzzLoad feeds whole archives: what is no image is refused as such, and
// leaves nothing.
func FuzzLoad(f *testing.F) {
	layer := tarOf(f, file("x", "x"))
	f.Add(dockerArchive(f, []string{"a:1"}, configOf(f, layer), layer))
	f.Add(ociArchive(f, "a:1", gzipImage(f, "amd64", layer)))
	f.Add(pack(f, gzipped, tarOf(f, file("manifest.json", "[]"))))
	s, err := Open(context.Background(), Options{Root: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, raw []byte) {
		loaded, err := s.Load(t.Context(), bytes.NewReader(raw), LoadOptions{})
		if err != nil && !errdefs.IsInvalidArgument(err) && !errdefs.IsNotFound(err) {
			t.Errorf("kind of %v", err)
		}
		for _, l := range loaded {
			if _, err := s.Remove(t.Context(), l.ID.String(), RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
				t.Error(err)
			}
		}
		isEmpty(t, s)
	})
}

// FuzzDocuments feeds the JSON documents of an image.
func FuzzDocuments(f *testing.F) {
	f.Add(configOf(f, []byte("layer")))
	f.Add([]byte(`{"manifests":[{"digest":"sha256:00","platform":{"os":"linux","architecture":"amd64"}}]}`))
	f.Add([]byte(`{"config":{"digest":"x"},"layers":[{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, err := parseConfig(raw); err == nil && len(c.chains) != len(c.image.RootFS.DiffIDs) {
			t.Error("layers without chain IDs")
		}
		if i, err := parseIndex(raw); err == nil {
			_, _ = choose(i.Manifests, nil)
		}
		_, _ = parseManifest(raw)
	})
}

// FuzzUnpacked feeds the decompressors.
func FuzzUnpacked(f *testing.F) {
	for _, c := range []compression{plain, gzipped, zstdPacked, xzPacked} {
		f.Add(pack(f, c, []byte("some bytes")))
	}
	f.Add([]byte("BZh91AY&SY"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, _, err := unpacked(bytes.NewReader(raw))
		if err == nil {
			_, err = io.CopyN(io.Discard, r, 1<<20)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		if err != nil && err != io.EOF && !errdefs.IsInvalidArgument(err) {
			t.Errorf("kind of %v", err)
		}
	})
}
