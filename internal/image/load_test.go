package image

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"
)

// pack compresses bytes.
func pack(tb testing.TB, c compression, b []byte) []byte {
	tb.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	switch c {
	case gzipped:
		w = gzip.NewWriter(&buf)
	case zstdPacked:
		w = must(zstd.NewWriter(&buf))(tb)
	case xzPacked:
		w = must(xz.NewWriter(&buf))(tb)
	default:
		return b
	}
	must(w.Write(b))(tb)
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// tarDir packs a directory.
func tarDir(tb testing.TB, root string) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.AddFS(os.DirFS(root)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func ociArchive(tb testing.TB, refName string, img v1.Image) []byte {
	tb.Helper()
	root := tb.TempDir()
	p := must(layout.Write(root, empty.Index))(tb)
	if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": refName})); err != nil {
		tb.Fatal(err)
	}
	return tarDir(tb, root)
}

func TestLoadFormats(t *testing.T) {
	t.Parallel()
	img := gzipImage(t, "amd64", tarOf(t, file("one", "1")), tarOf(t, file("two", strings.Repeat("2", 1<<20))))
	var docker bytes.Buffer
	if err := tarball.Write(must(name.NewTag("some/app:1"))(t), img, &docker); err != nil {
		t.Fatal(err)
	}
	layer := tarOf(t, file("x", "x"))
	plainConfig := configOf(t, layer)
	for title, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"docker, gzip layers": {docker.Bytes(), "some/app:1"},
		"oci":                 {ociArchive(t, "some/app:1", img), "some/app:1"},
		"oci, tag only":       {ociArchive(t, "latest", img), ""},
		"oci in zstd":         {pack(t, zstdPacked, ociArchive(t, "app:2", img)), "app:2"},
		"docker in gzip":      {pack(t, gzipped, dockerArchive(t, []string{"a:1"}, plainConfig, layer)), "a:1"},
		"docker in xz":        {pack(t, xzPacked, dockerArchive(t, []string{"a:1"}, plainConfig, layer)), "a:1"},
		"zstd layer":          {dockerArchive(t, []string{"a:1"}, plainConfig, pack(t, zstdPacked, layer)), "a:1"},
		"no tags":             {dockerArchive(t, nil, plainConfig, layer), ""},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			s := openStore(t)
			loaded, err := s.Load(t.Context(), bytes.NewReader(c.archive), LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(loaded) != 1 || loaded[0].Name != c.want {
				t.Errorf("loaded %v, want %q", loaded, c.want)
			}
			got := must(s.Resolve(t.Context(), loaded[0].ID.String()))(t)
			for _, l := range got.Layers {
				if st, err := os.Stat(l.File); err != nil || st.Size() != l.Size || st.Mode().Perm() != 0o444 {
					t.Errorf("layer %s: %v", l.ChainID, err)
				}
			}
			must(s.Remove(t.Context(), got.ID.String(), RemoveOptions{Force: true}))(t)
			isEmpty(t, s)
		})
	}
}

func TestLoadRefused(t *testing.T) {
	t.Parallel()
	layer := tarOf(t, file("x", strings.Repeat("x", 400<<10)))
	config := configOf(t, layer)
	good := dockerArchive(t, []string{"a:1"}, config, layer)
	climbing := tarOf(t, file("../../etc/x", "x"))
	brokenGzip := pack(t, gzipped, layer)
	brokenGzip = brokenGzip[:len(brokenGzip)-20]
	cutGzip := pack(t, gzipped, good)
	cutGzip = cutGzip[:len(cutGzip)/2]
	swapped := ociArchive(t, "a:1", gzipImage(t, "amd64", layer))
	at := bytes.Index(swapped, []byte(`"architecture"`))
	swapped[at+1] = 'A'
	for title, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"text":             {[]byte(strings.Repeat("no archive\n", 200)), "no tar file"},
		"nothing":          {nil, "neither manifest.json nor index.json"},
		"rootfs":           {tarOf(t, file("etc/passwd", "")), "neither manifest.json nor index.json"},
		"cut off":          {good[:len(good)/2], "cut off"},
		"cut off gzip":     {cutGzip, "cut off"},
		"lying layer":      {dockerArchive(t, nil, config, tarOf(t, file("y", "y"))), "lies about its digest"},
		"climbing":         {dockerArchive(t, nil, configOf(t, climbing), climbing), "climbs out"},
		"broken layer":     {dockerArchive(t, nil, configOf(t, layer[:5000]), layer[:5000]), "ends inside the file"},
		"broken gzip":      {dockerArchive(t, nil, config, brokenGzip), "cut off"},
		"text layer":       {dockerArchive(t, nil, configOf(t, []byte("hi")), []byte("hi")), "not a tar archive"},
		"too few layers":   {dockerArchive(t, nil, config), "0 layers and its config 1"},
		"no config":        {tarOf(t, file("manifest.json", `[{"Config":"c","Layers":[]}]`)), `lacks "c"`},
		"bad manifest":     {tarOf(t, file("manifest.json", `{`)), "not what it should be"},
		"empty manifest":   {tarOf(t, file("manifest.json", `[]`)), "no image in it"},
		"bad config":       {dockerArchive(t, nil, []byte("{]")), "not what it should be"},
		"bad tag":          {dockerArchive(t, []string{"A B"}, config, layer), "no image reference"},
		"link loop":        {tarOf(t, entry{tar.Header{Name: "manifest.json", Typeflag: tar.TypeSymlink, Linkname: "manifest.json"}, ""}), "without end"},
		"changed oci blob": {swapped, "has the digest"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			s := openStore(t)
			_, err := s.Load(t.Context(), bytes.NewReader(c.archive), LoadOptions{})
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got: %v\nwant: %s", err, c.want)
			}
			isEmpty(t, s)
		})
	}
}

// TestLoadAllOrNothing has a good image and a bad one in an archive.
func TestLoadAllOrNothing(t *testing.T) {
	t.Parallel()
	layer := tarOf(t, file("x", "x"))
	good, bad := configOf(t, layer), configOf(t, []byte("something else"))
	s := openStore(t)
	_, err := s.Load(t.Context(), bytes.NewReader(tarOf(t, file("l", string(layer)), file("good", string(good)), file("bad", string(bad)),
		file("manifest.json", `[{"Config":"good","RepoTags":["good:1"],"Layers":["l"]},{"Config":"bad","RepoTags":["bad:1"],"Layers":["l"]}]`))), LoadOptions{})
	if !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	isEmpty(t, s)
}

// TestLoadInterrupted cuts the input short the way a client that goes away does.
func TestLoadInterrupted(t *testing.T) {
	t.Parallel()
	layer := tarOf(t, file("x", strings.Repeat("x", 2<<20)))
	archive := dockerArchive(t, []string{"a:1"}, configOf(t, layer), layer)
	s := openStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	r := io.MultiReader(bytes.NewReader(archive[:1<<20]), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, context.Canceled
	}))
	if _, err := s.Load(ctx, r, LoadOptions{}); err == nil {
		t.Error("a load that was interrupted succeeded")
	}
	isEmpty(t, s)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	s := openStoreAt(t, filepath.Join(root, "image"), Options{})
	random := make([]byte, 8<<20)
	for i := range random {
		random[i] = byte(i*7 + i>>8)
	}
	small := load(t, s, "small", "small:1")
	for _, size := range []int{20 << 20, 8 << 20} { // in the blob, in the layer
		body := strings.Repeat(string(random), size>>20)[:size]
		_, err := s.Import(t.Context(), bytes.NewReader(tarOf(t, file("big", body))), ImportOptions{Ref: "big"})
		if !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "no space left") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%d bytes: %v", size, err)
		}
		if l := must(s.List(t.Context()))(t); len(l) != 1 || l[0].ID != small {
			t.Errorf("images: %v", l)
		}
	}
	must(s.Remove(t.Context(), "small:1", RemoveOptions{}))(t)
	isEmpty(t, s)
}

func TestSharedLayers(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	base, one, two := tarOf(t, file("base", "b")), tarOf(t, file("one", "1")), tarOf(t, file("two", "2"))
	for tag, top := range map[string][]byte{"one:1": one, "two:1": two} {
		must(s.Load(t.Context(), bytes.NewReader(dockerArchive(t, []string{tag}, configOf(t, base, top), base, top)), LoadOptions{}))(t)
	}
	if n := len(s.layers.list()); n != 3 {
		t.Errorf("%d layers, want 3", n)
	}
	must(s.Remove(t.Context(), "one:1", RemoveOptions{}))(t)
	img := must(s.Resolve(t.Context(), "two:1"))(t)
	if n := len(s.layers.list()); n != 2 || !slices.ContainsFunc(s.layers.list(), func(d digest.Digest) bool { return d == img.Layers[0].ChainID }) {
		t.Errorf("%d layers, want 2", n)
	}
}
