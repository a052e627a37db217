package dockerapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bothy/internal/engineapi"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
)

// diskFake is a fake that knows what takes how much disk.
type diskFake struct {
	*fake
	prune engineapi.BuildCachePrune
}

func (f *diskFake) DiskUsage(_ context.Context, req engineapi.DiskUsageRequest) (*engineapi.DiskUsage, error) {
	usage := &engineapi.DiskUsage{}
	if req.Images {
		usage.LayersSize, usage.Images = 7, []image.Summary{{ID: "sha256:1", Size: 7, Containers: 1}}
	}
	if req.Containers {
		usage.Containers = []container.Summary{{ID: "c", SizeRw: 3}}
	}
	if req.BuildCache {
		usage.BuildCache = []build.CacheRecord{{ID: "t", Type: "vm.template", Size: 9, LastUsedAt: &time.Time{}}}
	}
	return usage, f.call("df")
}

func (f *diskFake) PruneBuildCache(_ context.Context, req engineapi.BuildCachePrune) (*build.CachePruneReport, error) {
	f.prune = req
	return &build.CachePruneReport{CachesDeleted: []string{"t"}, SpaceReclaimed: 9}, f.call("prune")
}

func (f *diskFake) PruneImages(_ context.Context, filters Filters) (*image.PruneReport, error) {
	return &image.PruneReport{ImagesDeleted: []image.DeleteResponse{{Deleted: "sha256:1"}}, SpaceReclaimed: 7}, f.call("prune images %v", filters)
}

func TestPrune(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		`/v1.51/images/prune?filters={"dangling":{"false":true}}`: `{"ImagesDeleted":[{"Deleted":"sha256:1"}],"SpaceReclaimed":7}`,
		"/v1.51/networks/prune":                                   `{"NetworksDeleted":[]}`,
	} {
		f := &diskFake{fake: &fake{}}
		if w := doWith(f, http.MethodPost, target); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != want {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if w := doWith(&diskFake{fake: &fake{}}, http.MethodPost, "/v1.51/networks/prune?filters=x"); w.Code != http.StatusBadRequest {
		t.Errorf("nonsense for filters: %d %s", w.Code, w.Body)
	}
}

func TestSystemDF(t *testing.T) {
	t.Parallel()
	for target, want := range map[string][]string{
		"/v1.51/system/df":                                  {`"LayersSize":7`, `"ID":"t"`, `"SizeRw":3`, `"Volumes":[]`, `"Images":[{`},
		"/v1.44/system/df?type=build-cache":                 {`"ID":"t"`, `"Images":null`, `"Containers":null`, `"Volumes":null`},
		"/v1.44/system/df?type=image&type=volume&verbose=1": {`"LayersSize":7`, `"BuildCache":null`, `"Volumes":[]`},
		"/v1.41/system/df":                                  {`"BuilderSize":9`},
	} {
		w := doWith(&diskFake{fake: &fake{}}, http.MethodGet, target)
		for _, text := range want {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s: %d %s lacks %s", target, w.Code, w.Body, text)
			}
		}
	}
	if w := doWith(&diskFake{fake: &fake{}}, http.MethodGet, "/v1.44/system/df?type=cloud"); w.Code != http.StatusBadRequest {
		t.Errorf("an unknown type: %d %s", w.Code, w.Body)
	}
}

func TestBuildPrune(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"/v1.51/build/prune":                                   "{All:false Keep:0 Filters:map[]}",
		"/v1.51/build/prune?all=1&reserved-space=5":            "{All:true Keep:5 Filters:map[]}",
		"/v1.40/build/prune?keep-storage=1000":                 "{All:false Keep:1000 Filters:map[]}",
		`/v1.51/build/prune?filters={"until":{"24h":true}}`:    "{All:false Keep:0 Filters:map[until:map[24h:true]]}",
		"/v1.51/build/prune?max-used-space=0&min-free-space=0": "{All:false Keep:0 Filters:map[]}",
	} {
		f := &diskFake{fake: &fake{}}
		w := doWith(f, http.MethodPost, target)
		if got := fmt.Sprintf("%+v", f.prune); got != want || !strings.Contains(w.Body.String(), `"SpaceReclaimed":9`) {
			t.Errorf("%s: %s, %d %s", target, got, w.Code, w.Body)
		}
	}
	for target, code := range map[string]int{
		"/v1.51/build/prune?reserved-space=much": http.StatusBadRequest,
		"/v1.51/build/prune?max-used-space=7":    http.StatusNotImplemented,
	} {
		if w := doWith(&diskFake{fake: &fake{}}, http.MethodPost, target); w.Code != code {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}

// doWith answers one request by a backend that is more than a fake.
func doWith(backend Backend, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, strings.ReplaceAll(target, `"`, "%22"), nil)
	New(backend, Options{Log: slog.New(slog.DiscardHandler), ServerVersion: "test"}).ServeHTTP(w, r)
	return w
}
