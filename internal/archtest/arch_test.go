// Package archtest holds the rules about who may import whom. Each rule carries
// its reason, which is what a failing build prints.
package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms lists bothy's packages from the bottom up, as ARCHITECTURE.md does: a
// package may import those of the lines above its own, never its own line's or
// those below. A name covers its subpackages unless they are listed themselves.
var rooms = [][]string{
	{"shimapi", "logfile", "netns", "version", "engineapi", "event", "trace", "rootfs"},
	{"executor", "ps"},
	{"executortest", "vm", "vm/qmp"},
	{"guest"},
	{"shim"},
	{"shimclient"},
	{"vm/cache", "vm/cpio"},
	{"vm/kernel"},
	{"vm/initramfs", "vm/accel", "vm/ext4", "vm/template", "image", "network"},
	{"spec"},
	{"engine"},
	{"dockerapi"},
	{"daemon"},
	{"cli"},
}

// bans are rules that the order alone does not express. Package and banned
// import are path prefixes; banned imports are looked for transitively.
var bans = []struct{ pkg, banned, reason string }{
	{"bothy/cmd/containerd-shim-bothy-v2", "net/http", "the shim is paid for once a container and once a guest's start: HTTP stays out of it"},
	{"bothy/cmd/containerd-shim-bothy-v2", "google.golang.org/grpc/internal/transport", "gRPC doubles the shim's size: build with no_grpc"},
	{"bothy/cmd/containerd-shim-bothy-v2", "github.com/containerd/containerd/v2", "the stores belong to the engine, not to the executor"},
	{"bothy/cmd/containerd-shim-bothy-v2", "github.com/moby/moby", "docker's types end at the engine: the shim speaks OCI and containerd's task API"},
	{"bothy/cmd/containerd-shim-bothy-v2", "bothy/internal/engine", "the shim outlives the engine and must not know it"},
	{"bothy/internal/executor", "bothy/internal/vm", "the executor runs in both homes and knows neither"},
	{"bothy/internal/image", "bothy/internal/shimapi", "storage hands out layers; execution consumes them; neither knows the other"},
	{"bothy/internal/engine", "bothy/internal/dockerapi", "the engine holds no HTTP: the API calls it, not the other way round"},
	{"bothy/internal/engine", "github.com/opencontainers/runc", "only the executor runs containers"},
	{"bothy/internal/cli", "bothy/internal/engine", "the CLI is a client of the API like any other, with no back door"},
	{"bothy/internal/cli", "bothy/internal/image", "the CLI is a client of the API like any other, with no back door"},
}

const (
	shimTags   = "seccomp,netgo,osusergo,no_grpc,runc_nocriu,grpcnotrace"
	engineTags = "netgo,osusergo"
)

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T, tags string, patterns ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps", "-tags", tags}, patterns...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var pkgs []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// room gives the line of rooms that pkg belongs to, by its longest listed prefix.
func room(pkg string) (int, bool) {
	best, line := "", -1
	for i, names := range rooms {
		for _, name := range names {
			full := "bothy/internal/" + name
			if (pkg == full || strings.HasPrefix(pkg, full+"/")) && len(full) > len(best) {
				best, line = full, i
			}
		}
	}
	return line, line >= 0
}

// sameRoom says that two packages share a listed prefix: parts of one idea.
func sameRoom(a, b string) bool {
	for _, names := range rooms {
		for _, name := range names {
			full := "bothy/internal/" + name
			in := func(p string) bool { return p == full || strings.HasPrefix(p, full+"/") }
			if in(a) && in(b) {
				return true
			}
		}
	}
	return false
}

func TestImportsPointUpward(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, engineTags, "./internal/...") {
		if p.ImportPath == "bothy/internal/archtest" {
			continue
		}
		at, ok := room(p.ImportPath)
		if !ok {
			t.Errorf("%s stands in no room: add it to rooms here and to the table in ARCHITECTURE.md", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			to, ours := room(imported)
			if ours && to >= at && !sameRoom(p.ImportPath, imported) {
				t.Errorf("%s imports %s, which does not stand above it in ARCHITECTURE.md's table: a lower room would be dragged into a higher one", p.ImportPath, imported)
			}
		}
	}
}

func TestBans(t *testing.T) {
	t.Parallel()
	pkgs := list(t, engineTags, "./internal/...", "./cmd/...")
	shim := list(t, shimTags, "./cmd/containerd-shim-bothy-v2")
	for _, ban := range bans {
		from := pkgs
		if strings.HasPrefix(ban.pkg, "bothy/cmd/containerd-shim") {
			from = shim
		}
		found := false
		for _, p := range from {
			if p.ImportPath != ban.pkg && !strings.HasPrefix(p.ImportPath, ban.pkg+"/") {
				continue
			}
			found = true
			bad := func(dep string) bool { return dep == ban.banned || strings.HasPrefix(dep, ban.banned+"/") }
			if i := slices.IndexFunc(p.Deps, bad); i >= 0 {
				t.Errorf("%s depends on %s: %s", p.ImportPath, p.Deps[i], ban.reason)
			}
		}
		if !found {
			t.Errorf("the rule about %s names a package that is not there", ban.pkg)
		}
	}
}
