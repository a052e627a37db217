package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// busyboxImage makes an image of two layers: busybox, and over it a file
// /layer that says text, with /bin/wget gone.
func busyboxImage(t *testing.T, text string) v1.Image {
	t.Helper()
	base, err := tarball.LayerFromFile(sampleImage("busybox"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, base, layerOf(t, map[string]string{"layer": text, "bin/.wh.wget": ""}))
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = "linux", "amd64"
	config.Config.Cmd = []string{"cat", "/layer"}
	config.Config.Env = []string{"FROM_IMAGE=yes"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for path, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func layerOf(t *testing.T, files map[string]string) v1.Layer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(path, tarOf(t, files), 0o644); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// dockerArchive writes what `docker save` would.
func dockerArchive(t *testing.T, ref string, image v1.Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(path, tag, image); err != nil {
		t.Fatal(err)
	}
	return path
}

// ociArchive writes an OCI image layout in a tar file.
func ociArchive(t *testing.T, ref string, image v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	path, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	err = path.AppendImage(image, layout.WithAnnotations(map[string]string{"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": ref}))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "oci.tar")
	if msg, err := exec.Command("tar", "-C", string(path), "-cf", out, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	return out
}

func TestLoadDockerAndOCIArchives(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	archives := map[string]func(*testing.T, string, v1.Image) string{"docker": dockerArchive, "oci": ociArchive}
	for format, archive := range archives {
		ref := "docker.io/library/loaded-" + format + ":1"
		file := archive(t, ref, busyboxImage(t, format))
		if got := e.bothy(t, "load", "-i", file); !strings.Contains(got, "Loaded image: loaded-"+format+":1") {
			t.Errorf("load of a %s archive printed %q", format, got)
		}
		for _, home := range homes {
			got := e.bothy(t, "run", "--rm", "--isolation", home, "loaded-"+format+":1", "sh", "-c", "cat /layer; echo; echo $FROM_IMAGE; ls /bin/wget 2>/dev/null; ls /bin/cat")
			if got != format+"\nyes\n/bin/cat" {
				t.Errorf("%s, %s: %q", format, home, got)
			}
		}
	}
}

func TestTagAndRemove(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	e.bothy(t, "load", "-i", dockerArchive(t, "tagged:1", busyboxImage(t, "tagged")))
	e.bothy(t, "tag", "tagged:1", "example.com/other/tagged:2")
	got := e.bothy(t, "images", "--filter", "reference=*/*/tagged", "--format", "{{.Repository}}:{{.Tag}}")
	if got != "example.com/other/tagged:2" {
		t.Errorf("images shows %q", got)
	}
	e.removeLater(t, "user-of-tagged")
	e.bothy(t, "create", "--name", "user-of-tagged", "tagged:1")
	e.bothy(t, "rmi", "example.com/other/tagged:2")
	if r := e.run(t, "", "bothy", "rmi", "tagged:1"); r.status == 0 || !strings.Contains(r.stderr, "user-of-tagged") && !strings.Contains(r.stderr, "is using") {
		t.Errorf("rmi of an image in use: status %d, stderr %q", r.status, r.stderr)
	}
	e.bothy(t, "rm", "user-of-tagged")
	if got := e.bothy(t, "rmi", "tagged:1"); !strings.Contains(got, "Untagged: tagged:1") || !strings.Contains(got, "Deleted: sha256:") {
		t.Errorf("rmi printed %q", got)
	}
	if r := e.run(t, "", "bothy", "image", "inspect", "tagged:1"); r.status == 0 {
		t.Error("the image is still there")
	}
}

// startRegistry runs Debian's registry on loopback and gives its address.
func startRegistry(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n", dir, address)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", file)
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting the registry (Debian's package docker-registry): %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for ctx.Err() == nil {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the registry does not listen")
	return ""
}

func TestPullFromARegistry(t *testing.T) {
	t.Parallel()
	e := theEngine(t)
	registry := startRegistry(t)
	ref, err := name.NewTag(registry + "/team/app:1.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, busyboxImage(t, "pulled")); err != nil {
		t.Fatal(err)
	}
	if got := e.bothy(t, "pull", ref.String()); !strings.Contains(got, "Status: Downloaded newer image for "+ref.String()) {
		t.Errorf("pull printed %q", got)
	}
	if got := e.bothy(t, "pull", ref.String()); !strings.Contains(got, "Status: Image is up to date for "+ref.String()) {
		t.Errorf("the second pull printed %q", got)
	}
	for _, home := range homes {
		if got := e.bothy(t, "run", "--rm", "--isolation", home, ref.String()); got != "pulled" {
			t.Errorf("%s: %q", home, got)
		}
	}
	for _, bad := range []string{registry + "/team/app:none", registry + "/nobody/nothing", "127.0.0.1:1/no/registry"} {
		if r := e.run(t, "", "bothy", "pull", bad); r.status == 0 || r.stderr == "" {
			t.Errorf("pull of %s: status %d, stderr %q", bad, r.status, r.stderr)
		}
	}
	// An image that is not there is pulled by run, and so says run where it can't be.
	if r := e.run(t, "", "bothy", "run", "--rm", registry+"/team/app:none", "true"); r.status != 125 {
		t.Errorf("run of an unknown image: status %d, stderr %q", r.status, r.stderr)
	}
}
