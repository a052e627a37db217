package image

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// gzipImage is an image whose layers are compressed.
func gzipImage(tb testing.TB, arch string, layers ...[]byte) v1.Image {
	tb.Helper()
	img := empty.Image
	for _, l := range layers {
		layer := must(tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(l)), nil }))(tb)
		img = must(mutate.AppendLayers(img, layer))(tb)
	}
	c := must(img.ConfigFile())(tb).DeepCopy()
	c.OS, c.Architecture, c.Config.Cmd = "linux", arch, []string{"sh"}
	return must(mutate.ConfigFile(img, c))(tb)
}

// serve runs a registry until the test ends; spoil may answer in its place.
func serve(tb testing.TB, spoil func(http.ResponseWriter, *http.Request) bool) string {
	tb.Helper()
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if spoil == nil || !spoil(w, r) {
			reg.ServeHTTP(w, r)
		}
	}))
	tb.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func push(tb testing.TB, ref string, img v1.Image) {
	tb.Helper()
	if err := remote.Write(must(name.ParseReference(ref))(tb), img); err != nil {
		tb.Fatal(err)
	}
}

func TestPull(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	ref := host + "/some/app:1"
	img := gzipImage(t, "amd64", tarOf(t, dir("etc/"), file("etc/one", "1")), tarOf(t, file("etc/two", "2")))
	push(t, ref, img)
	s := openStore(t)
	var mu sync.Mutex
	var words []string
	got, err := s.Pull(t.Context(), ref, PullOptions{Progress: func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		words = append(words, p.Status)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if want := must(img.ConfigName())(t).String(); got.ID.String() != want || len(got.Layers) != 2 {
		t.Errorf("pulled %+v, want %s", got, want)
	}
	if want := []string{ref}; !slices.Equal(got.Names, want) {
		t.Errorf("names %v", got.Names)
	}
	if want := host + "/some/app@" + must(img.Digest())(t).String(); len(got.Digests) != 1 || got.Digests[0] != want {
		t.Errorf("digests %v, want %s", got.Digests, want)
	}
	for _, w := range []string{"Pulling from some/app", "Pulling fs layer", "Download complete", "Extracting", "Pull complete", "Status: Downloaded newer image for " + ref} {
		if !slices.Contains(words, w) {
			t.Errorf("progress lacks %q: %q", w, words)
		}
	}
	words = nil
	if _, err := s.Pull(t.Context(), got.Digests[0], PullOptions{Progress: func(p Progress) { words = append(words, p.Status) }}); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(words, "Already exists") || !slices.Contains(words, "Status: Image is up to date for "+got.Digests[0]) {
		t.Errorf("second pull: %q", words)
	}
}

func TestPullIndex(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	arm := gzipImage(t, "arm64", tarOf(t, file("arm", "")))
	amd := gzipImage(t, "amd64", tarOf(t, file("amd", "")))
	idx := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	ref := host + "/multi"
	if err := remote.WriteIndex(must(name.ParseReference(ref))(t), idx); err != nil {
		t.Fatal(err)
	}
	s := openStore(t)
	got := must(s.Pull(t.Context(), ref, PullOptions{Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}}))(t)
	if got.Config.Architecture != "arm64" || got.ID.String() != must(arm.ConfigName())(t).String() {
		t.Errorf("got %s for arm64", got.Config.Architecture)
	}
	_, err := s.Pull(t.Context(), ref, PullOptions{Platform: &ocispec.Platform{OS: "linux", Architecture: "s390x"}})
	if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "no matching manifest for linux/s390x") {
		t.Errorf("a platform that is not there: %v", err)
	}
}

func TestPullErrors(t *testing.T) {
	t.Parallel()
	layer := tarOf(t, file("x", "x"))
	lies := func(tb testing.TB) v1.Image {
		img := gzipImage(tb, "amd64", layer)
		c := must(img.ConfigFile())(tb).DeepCopy()
		c.RootFS.DiffIDs[0] = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ab", 32)}
		return must(mutate.ConfigFile(img, c))(tb)
	}
	for title, c := range map[string]struct {
		img   func(testing.TB) v1.Image
		ref   string // "%s" is the registry
		spoil func(http.ResponseWriter, *http.Request) bool
		want  string
		kind  func(error) bool
	}{
		"unknown tag":  {ref: "%s/app:nope", want: "manifest for %s/app:nope not found: manifest unknown", kind: errdefs.IsNotFound},
		"unknown repo": {ref: "%s/nope", want: "manifest for %s/nope:latest not found: manifest unknown", kind: errdefs.IsNotFound},
		"denied": {ref: "%s/app", spoil: func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, want: "pull access denied for %s/app", kind: errdefs.IsPermissionDenied},
		"wrong blob": {ref: "%s/app", spoil: func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			// As long as what was asked for would be, so that only the digest tells.
			h, err := http.Head("http://" + r.Host + r.URL.Path)
			if err == nil {
				_, _ = io.CopyN(w, zeros{}, h.ContentLength)
			}
			return true
		}, want: "is something else", kind: errdefs.IsInvalidArgument},
		"broken registry": {ref: "%s/app", spoil: func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/manifests/latest") {
				w.WriteHeader(http.StatusTeapot)
				return true
			}
			return false
		}, want: "the registry %s answered 418", kind: errdefs.IsUnavailable},
		"lying layer":  {img: lies, ref: "%s/app", want: "lies about its digest", kind: errdefs.IsInvalidArgument},
		"no host":      {ref: "no-such-host.invalid/app", want: "no such host", kind: errdefs.IsUnavailable},
		"no reference": {ref: "UPPER CASE", want: "is no image reference", kind: errdefs.IsInvalidArgument},
		"refused":      {ref: "127.0.0.1:1/app", want: "cannot be reached", kind: errdefs.IsUnavailable},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			var pushed atomic.Bool
			host := serve(t, func(w http.ResponseWriter, r *http.Request) bool {
				return pushed.Load() && c.spoil != nil && c.spoil(w, r)
			})
			if c.img == nil {
				c.img = func(tb testing.TB) v1.Image { return gzipImage(tb, "amd64", layer) }
			}
			push(t, host+"/app:latest", c.img(t))
			pushed.Store(true)
			s := openStore(t)
			_, err := s.Pull(t.Context(), strings.ReplaceAll(c.ref, "%s", host), PullOptions{})
			if !c.kind(err) || !strings.Contains(err.Error(), strings.ReplaceAll(c.want, "%s", host)) {
				t.Errorf("got: %v\nwant: %s", err, c.want)
			}
			t.Log(err)
			isEmpty(t, s)
		})
	}
}

func TestPullPlainHTTPFromSecureRegistry(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	push(t, host+"/app", gzipImage(t, "amd64", tarOf(t, file("x", "x"))))
	certs := t.TempDir()
	name := "registry.example"
	if err := os.MkdirAll(filepath.Join(certs, name), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(scheme string) {
		toml := fmt.Sprintf("server = \"%s://%s\"\n", scheme, host)
		if err := os.WriteFile(filepath.Join(certs, name, "hosts.toml"), []byte(toml), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := openStoreAt(t, t.TempDir(), Options{RegistryConfigDirs: []string{certs}})
	write("https")
	if _, err := s.Pull(t.Context(), name+"/app", PullOptions{}); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "--insecure-registry") {
		t.Errorf("over https: %v", err)
	}
	write("http")
	got, err := s.Pull(t.Context(), name+"/app", PullOptions{})
	if err != nil || got.Names[0] != name+"/app:latest" {
		t.Errorf("over http: %+v %v", got, err)
	}
}

func TestPullAtOnce(t *testing.T) {
	t.Parallel()
	host := serve(t, nil)
	push(t, host+"/app", gzipImage(t, "amd64", tarOf(t, file("x", strings.Repeat("x", 1<<20))), tarOf(t, file("y", "y"))))
	s := openStore(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			img, err := s.Pull(t.Context(), host+"/app", PullOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			for _, l := range img.Layers {
				if _, err := os.Stat(l.File); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if l := must(s.List(t.Context()))(t); len(l) != 1 {
		t.Errorf("images: %v", l)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// isEmpty checks that a store holds nothing: no image, layer, blob, lease or
// temporary file.
func isEmpty(tb testing.TB, s *Store) {
	tb.Helper()
	var left []string
	for _, dir := range []string{"layers", "tmp", "content/blobs", "content/ingest"} {
		err := filepath.WalkDir(filepath.Join(s.root, dir), func(p string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				left = append(left, p)
			}
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			tb.Error(err)
		}
	}
	if images := must(s.List(tb.Context()))(tb); len(left) > 0 || len(images) > 0 {
		tb.Errorf("left behind: %v, images %v", left, images)
	}
}
