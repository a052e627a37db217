package image

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// shelf is a registry with what a test put on it, as it is.
type shelf struct {
	blobs map[string][]byte // by digest
	types map[string]string // media types of manifests, by digest
	top   string            // digest of the tag
}

func newShelf() *shelf { return &shelf{blobs: map[string][]byte{}, types: map[string]string{}} }

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ref := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if ref == "latest" {
		ref = s.top
	}
	b, ok := s.blobs[ref]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if t := s.types[ref]; t != "" {
		w.Header().Set("Content-Type", t)
		w.Header().Set("Docker-Content-Digest", ref)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(b)
	}
}

func (s *shelf) add(mediaType string, b []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	s.blobs[d.Digest.String()] = b
	return d
}

func (s *shelf) document(t testing.TB, mediaType string, v any) ocispec.Descriptor {
	t.Helper()
	d := s.add(mediaType, must(json.Marshal(v))(t))
	s.types[d.Digest.String()], s.top = mediaType, d.Digest.String()
	return d
}

const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// manifest puts an image of uncompressed layers on the shelf; change may spoil it.
func (s *shelf) manifest(t testing.TB, change func(*ocispec.Manifest), layers ...[]byte) ocispec.Descriptor {
	t.Helper()
	m := ocispec.Manifest{MediaType: dockerManifest, Config: s.add(dockerConfig, configOf(t, layers...)), Layers: []ocispec.Descriptor{}}
	m.SchemaVersion = 2
	for _, l := range layers {
		m.Layers = append(m.Layers, s.add(dockerLayer, l))
	}
	if change != nil {
		change(&m)
	}
	return s.document(t, m.MediaType, m)
}

func TestPullUnusualManifests(t *testing.T) {
	t.Parallel()
	one, two := tarOf(t, file("x", "x")), tarOf(t, file("y", "y"))
	invalid := errdefs.IsInvalidArgument
	for title, c := range map[string]struct {
		make func(testing.TB, *shelf)
		want string // "" if it is to be pulled
		kind func(error) bool
	}{
		"docker's types": {make: func(t testing.TB, s *shelf) { s.manifest(t, nil, one, two) }},
		"a layer twice":  {make: func(t testing.TB, s *shelf) { s.manifest(t, nil, one, two, one, one) }},
		"no layers":      {make: func(t testing.TB, s *shelf) { s.manifest(t, nil) }},
		"an unknown layer type": {make: func(t testing.TB, s *shelf) {
			s.manifest(t, func(m *ocispec.Manifest) { m.Layers[0].MediaType = "application/x-unknown" }, one)
		}},
		"a size that is too small": {make: func(t testing.TB, s *shelf) {
			s.manifest(t, func(m *ocispec.Manifest) { m.Layers[0].Size -= 512 }, one)
		}, want: "is something else", kind: invalid},
		"a size that is too large": {make: func(t testing.TB, s *shelf) {
			s.manifest(t, func(m *ocispec.Manifest) { m.Layers[0].Size += 512 }, one)
		}, want: "before its 2560 bytes were there", kind: errdefs.IsUnavailable},
		"no size": {make: func(t testing.TB, s *shelf) {
			s.manifest(t, func(m *ocispec.Manifest) { m.Layers[0].Size = 0 }, one)
		}, want: "size", kind: invalid},
		"a negative size": {make: func(t testing.TB, s *shelf) {
			s.manifest(t, func(m *ocispec.Manifest) { m.Layers[0].Size = -1 }, one)
		}, want: "size", kind: invalid},
		"a huge config": {make: func(t testing.TB, s *shelf) {
			s.manifest(t, func(m *ocispec.Manifest) { m.Config.Size = 1 << 40 }, one)
		}, want: "more than the", kind: invalid},
		"sha512": {make: func(t testing.TB, s *shelf) {
			s.manifest(t, func(m *ocispec.Manifest) { m.Layers[0].Digest = digest.SHA512.FromBytes(one) }, one)
		}, want: "where a sha256 digest should be", kind: invalid},
		"no digest": {make: func(t testing.TB, s *shelf) {
			s.manifest(t, func(m *ocispec.Manifest) { m.Layers[0].Digest = "../../etc" }, one)
		}, want: "where a sha256 digest should be", kind: invalid},
		"no config": {make: func(t testing.TB, s *shelf) {
			s.manifest(t, func(m *ocispec.Manifest) { m.Config = ocispec.Descriptor{} }, one)
		}, want: "where a sha256 digest should be", kind: invalid},
		"schema 1": {make: func(t testing.TB, s *shelf) {
			s.document(t, "application/vnd.docker.distribution.manifest.v1+prettyjws", map[string]any{"schemaVersion": 1})
		}, want: "push it again", kind: invalid},
		"an artifact": {make: func(t testing.TB, s *shelf) {
			s.manifest(t, func(m *ocispec.Manifest) { m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json" }, one)
		}, want: "it is not a container image", kind: invalid},
		"an index for another platform": {make: func(t testing.TB, s *shelf) {
			d := s.manifest(t, nil, one)
			d.Platform = &ocispec.Platform{OS: "linux", Architecture: "s390x"}
			s.document(t, ocispec.MediaTypeImageIndex, ocispec.Index{Manifests: []ocispec.Descriptor{d}})
		}, want: "no matching manifest for linux/", kind: errdefs.IsNotFound},
		"an index without platforms": {make: func(t testing.TB, s *shelf) {
			s.document(t, ocispec.MediaTypeImageIndex, ocispec.Index{Manifests: []ocispec.Descriptor{s.manifest(t, nil, one)}})
		}},
		"an empty index": {make: func(t testing.TB, s *shelf) {
			s.document(t, ocispec.MediaTypeImageIndex, ocispec.Index{})
		}, want: "no matching manifest", kind: errdefs.IsNotFound},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			reg := newShelf()
			c.make(t, reg)
			srv := httptest.NewServer(reg)
			t.Cleanup(srv.Close)
			s := openStore(t)
			img, err := s.Pull(t.Context(), strings.TrimPrefix(srv.URL, "http://")+"/app", PullOptions{})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				must(s.Remove(t.Context(), img.ID.String(), RemoveOptions{Force: true}))(t)
			} else if err == nil || !c.kind(err) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got: %v\nwant: %s", err, c.want)
			}
			isEmpty(t, s)
		})
	}
}

// TestPullEndsWithItsContext has a registry that stops in the middle of a layer.
func TestPullEndsWithItsContext(t *testing.T) {
	t.Parallel()
	reg := newShelf()
	layer := tarOf(t, file("x", strings.Repeat("x", 1<<20)))
	reg.manifest(t, nil, layer)
	stalled, over := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest.FromBytes(layer).String()) {
			reg.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(layer)))
		_, _ = w.Write(layer[:1000])
		w.(http.Flusher).Flush()
		close(stalled)
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}))
	t.Cleanup(func() { close(over); srv.Close() })
	s := openStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Pull(ctx, strings.TrimPrefix(srv.URL, "http://")+"/app", PullOptions{})
		done <- err
	}()
	<-stalled
	cancel()
	select {
	case err := <-done:
		if err == nil {
			t.Error("it was pulled")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the pull goes on")
	}
	isEmpty(t, s)
}

// TestPullWithPassword has a registry that wants a name and password, and one
// that sends to a token server and redirects to where the blobs are.
func TestPullWithPassword(t *testing.T) {
	t.Parallel()
	reg := newShelf()
	reg.manifest(t, nil, tarOf(t, file("x", "x")))
	blobs := httptest.NewServer(reg)
	t.Cleanup(blobs.Close)
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/basic/", func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "me" || p != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		reg.ServeHTTP(w, r)
	})
	mux.HandleFunc("/v2/{$}", func(w http.ResponseWriter, r *http.Request) {
		_, _, basic := r.BasicAuth()
		if basic || r.Header.Get("Authorization") != "Bearer T" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		u, p, ok := r.BasicAuth()
		if !ok && r.ParseForm() == nil {
			u, p = r.PostForm.Get("username"), r.PostForm.Get("password")
		}
		if u != "me" || p != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"token": "T", "access_token": "T"})
	})
	mux.HandleFunc("/v2/token/", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer T":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="s",scope="repository:token/app:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, blobs.URL+r.URL.Path, http.StatusTemporaryRedirect)
		default:
			reg.ServeHTTP(w, r)
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	host := strings.TrimPrefix(srv.URL, "http://")
	for password, want := range map[string]func(error) bool{
		"secret": func(err error) bool { return err == nil }, "wrong": errdefs.IsUnauthorized, "": errdefs.IsUnauthorized,
	} {
		if err := openStore(t).Login(t.Context(), "http://"+host+"/v2/", &Auth{Username: "me", Password: password}); !want(err) {
			t.Errorf("login with %q: %v", password, err)
		}
	}
	for _, kind := range []string{"basic", "token"} {
		s := openStore(t)
		ref := host + "/" + kind + "/app"
		if _, err := s.Pull(t.Context(), ref, PullOptions{}); !errdefs.IsPermissionDenied(err) {
			t.Errorf("%s without password: %v", kind, err)
		}
		if _, err := s.Pull(t.Context(), ref, PullOptions{Auth: &Auth{Username: "me", Password: "wrong"}}); !errdefs.IsPermissionDenied(err) {
			t.Errorf("%s with a wrong password: %v", kind, err)
		}
		isEmpty(t, s)
		if _, err := s.Pull(t.Context(), ref, PullOptions{Auth: &Auth{Username: "me", Password: "secret"}}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestOwnCertificateAuthority has a registry whose certificate hosts.toml vouches for.
func TestOwnCertificateAuthority(t *testing.T) {
	t.Parallel()
	reg := newShelf()
	reg.manifest(t, nil, tarOf(t, file("x", "x")))
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/{$}", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/v2/app/", reg)
	srv := httptest.NewTLSServer(mux)
	t.Cleanup(srv.Close)
	certs := t.TempDir()
	dir := filepath.Join(certs, "registry.example")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	toml := fmt.Sprintf("server = %q\n[host.%q]\nca = %q\n", srv.URL, srv.URL, filepath.Join(dir, "ca.pem"))
	for name, b := range map[string][]byte{"ca.pem": ca, "hosts.toml": []byte(toml)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := openStoreAt(t, t.TempDir(), Options{RegistryConfigDirs: []string{certs}})
	if err := s.Login(t.Context(), "registry.example", &Auth{Username: "me", Password: "secret"}); err != nil {
		t.Error(err)
	}
	if _, err := s.Pull(t.Context(), "registry.example/app", PullOptions{}); err != nil {
		t.Error(err)
	}
	if err := openStore(t).Login(t.Context(), "http://no-such-host.invalid/", nil); !errdefs.IsUnavailable(err) {
		t.Errorf("a registry that is not there: %v", err)
	}
}
