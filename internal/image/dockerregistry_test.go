package image

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// startRegistry runs Debian's docker-registry on a loopback port until the
// test ends.
func startRegistry(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed")
	}
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	host := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", root, host)
	path := filepath.Join(root, "config.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", path)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		_ = cmd.Wait() // killed
		if t.Failed() {
			t.Logf("docker-registry: %s", out.Bytes())
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		resp, err := http.Get("http://" + host + "/v2/")
		if err == nil {
			_ = resp.Body.Close()
			return host
		}
		if time.Now().After(deadline) {
			t.Fatalf("docker-registry does not answer: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // between two polls of another program
	}
}

func TestPullFromDockerRegistry(t *testing.T) {
	t.Parallel()
	host := startRegistry(t)
	img := gzipImage(t, "amd64", tarOf(t, dir("etc/"), file("etc/one", "1")), tarOf(t, file("etc/.wh.one", ""), file("etc/two", "2")))
	push(t, host+"/busybox:latest", img)
	s := openStore(t)
	got, err := s.Pull(t.Context(), host+"/busybox", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want := must(img.ConfigName())(t).String(); got.ID.String() != want || len(got.Layers) != 2 || got.Names[0] != host+"/busybox:latest" {
		t.Errorf("pulled %+v", got)
	}
	if _, err := s.Pull(t.Context(), host+"/busybox:nope", PullOptions{}); err == nil || err.Error() != fmt.Sprintf("pulling %[1]s/busybox:nope: manifest for %[1]s/busybox:nope not found: manifest unknown", host) {
		t.Error(err)
	}
}
