package engine

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"bothy/internal/engineapi"
)

// rig is an engine over fakes.
type rig struct {
	*Engine
	t        *testing.T
	opts     Options
	images   *fakeImages
	networks *fakeNetworks
	shims    *fakeShims
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	opts := Options{
		DataRoot: filepath.Join(dir, "data"), ExecRoot: filepath.Join(dir, "exec"), Isolation: "process",
		LogConfig: container.LogConfig{Type: "json-file"}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if err := os.MkdirAll(opts.DataRoot, 0o700); err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, opts: opts, images: newFakeImages(),
		networks: &fakeNetworks{attached: map[string]bool{}}, shims: &fakeShims{live: map[string]*fakeShim{}},
	}
	r.open()
	t.Cleanup(r.crash)
	return r
}

func (r *rig) open() {
	r.t.Helper()
	r.Engine = &Engine{}
	if err := r.assemble(r.t.Context(), r.opts, r.images, r.networks, r.shims); err != nil {
		r.t.Fatal(err)
	}
	r.starter.host.erofs = true
}

// crash ends the engine as a kill would: nothing is told to anybody.
func (r *rig) crash() {
	r.close()
	r.watchers.Wait()
	r.cleaning.Wait()
}

func (r *rig) restart() {
	r.t.Helper()
	r.crash()
	r.open()
}

func (r *rig) create(name string, host container.HostConfig) string {
	r.t.Helper()
	resp, err := r.CreateContainer(r.t.Context(), engineapi.CreateRequest{Name: name, Config: &container.Config{Image: "app:1"}, HostConfig: &host})
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.ID
}

func (r *rig) start(ref string) *fakeShim {
	r.t.Helper()
	if err := r.StartContainer(r.t.Context(), ref); err != nil {
		r.t.Fatal(err)
	}
	return r.shim(ref)
}

func (r *rig) shim(ref string) *fakeShim {
	r.t.Helper()
	c, err := r.index.find(ref)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.shims.at(r.starter.bundle(c.id))
}

func (r *rig) state(ref string) *container.State {
	r.t.Helper()
	resp, err := r.InspectContainer(r.t.Context(), ref, false)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.State
}

// await waits for the container and for the clearing after it.
func (r *rig) await(ref string, condition container.WaitCondition) container.WaitResponse {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	c, err := r.index.find(ref)
	if err != nil {
		r.t.Fatal(err)
	}
	ch, err := r.WaitContainer(ctx, ref, condition)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, ok := <-ch
	if !ok {
		r.t.Fatal("no answer to the wait")
	}
	if c.acquire(ctx) == nil {
		c.release()
	}
	return resp
}

// clean fails the test if anything of a run is left.
func (r *rig) clean() {
	r.t.Helper()
	if n := r.networks.count(); n > 0 {
		r.t.Errorf("%d containers are still on a network", n)
	}
	if n := r.shims.count(); n > 0 {
		r.t.Errorf("%d shims still run", n)
	}
	if left, _ := filepath.Glob(filepath.Join(r.opts.ExecRoot, "c", "*")); len(left) > 0 {
		r.t.Errorf("bundles are left: %v", left)
	}
}
