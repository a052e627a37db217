package dockerapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
)

// do answers one request without a socket.
func do(f *fake, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	New(f, Options{Log: slog.New(slog.DiscardHandler), ServerVersion: "test"}).ServeHTTP(w, r)
	return w
}

func message(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var m struct{ Message string }
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Errorf("body %q: %v", w.Body, err)
	}
	return m.Message
}

func TestPing(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "HEAD"} {
		w := do(&fake{}, method, "/_ping", "")
		for name, want := range map[string]string{
			"Api-Version": "1.51", "Ostype": "linux", "Docker-Experimental": "false", "Builder-Version": "1", "Swarm": "inactive",
			"Server": "bothy/test (linux)", "Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", method, name, got, want)
			}
		}
		if method == "GET" && w.Body.String() != "OK" {
			t.Errorf("body %q", w.Body)
		}
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/version": "", "/v1.24/version": "", "/v1.51/version": "", "/v1.43/version": "",
		"/v1.52/version":  "client version 1.52 is too new. Maximum supported API version is 1.51",
		"/v2.0/version":   "client version 2.0 is too new. Maximum supported API version is 1.51",
		"/v1.23/version":  "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
		"/v0.9/version":   "client version 0.9 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
		"/v1.9/version":   "client version 1.9 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
		"/v1.2.3/version": "client version 1.2.3 is not an API version; one looks like 1.51",
		"/v1./version":    "client version 1. is not an API version; one looks like 1.51",
	} {
		w := do(&fake{}, "GET", path, "")
		if want == "" {
			if w.Code != 200 {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
			continue
		}
		if got := message(t, w); w.Code != 400 || got != want {
			t.Errorf("%s: %d %q, want %q", path, w.Code, got, want)
		}
	}
}

// TestEveryVersionOfEveryAnswer asks for the answers whose shape depends on the
// version in all versions.
func TestEveryVersionOfEveryAnswer(t *testing.T) {
	t.Parallel()
	// path -> field (dots between levels) -> versions that have it, [from, to].
	fields := map[string]map[string][2]int{
		"/images/json":             {"0.VirtualSize": {24, 43}, "0.Size": {24, 51}, "0.Descriptor": {48, 51}, "0.RepoTags": {24, 51}, "0.Manifests": {0, 0}},
		"/images/json?manifests=1": {"0.Manifests": {47, 51}},
		"/images/x/json": {
			"VirtualSize": {24, 43}, "ContainerConfig": {24, 44}, "Container": {24, 44}, "DockerVersion": {24, 51}, "Parent": {24, 51},
			"Config.Cmd": {24, 51}, "Config.Volumes": {24, 51}, "Config.Tty": {24, 49}, "Config.Hostname": {24, 49}, "GraphDriver.Name": {24, 51},
		},
		"/info":            {"BridgeNfIptables": {24, 49}, "BridgeNfIp6tables": {24, 49}, "RuncCommit.Expected": {24, 48}, "RuncCommit.ID": {24, 51}, "Name": {24, 51}},
		"/containers/json": {"0.Ports.0.PrivatePort": {24, 51}, "0.Ports.0.IP": {0, 0}, "0.Labels": {24, 51}, "0.NetworkSettings.Networks": {24, 51}, "0.Mounts": {24, 51}},
		"/containers/web/json": {
			"NetworkSettings.IPAddress": {24, 51}, "NetworkSettings.Bridge": {24, 51}, "NetworkSettings.MacAddress": {24, 51}, "NetworkSettings.Ports": {24, 51},
			"NetworkSettings.SecondaryIPAddresses": {24, 51}, "NetworkSettings.Networks.bridge.IPAddress": {24, 51}, "Config.MacAddress": {24, 43},
			"Config.Image": {24, 51}, "Config.OnBuild": {24, 51}, "GraphDriver.Name": {24, 51}, "Mounts": {24, 51}, "HostConfig.Isolation": {24, 51}, "Storage": {0, 0},
		},
	}
	for path, want := range fields {
		for minor := 24; minor <= 51; minor++ {
			w := do(&fake{}, "GET", fmt.Sprintf("/v1.%d%s", minor, path), "")
			var answer any
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
			for field, span := range want {
				if got, should := has(answer, strings.Split(field, ".")), minor >= span[0] && minor <= span[1]; got != should {
					t.Errorf("v1.%d%s: %s is there: %v, want %v", minor, path, field, got, should)
				}
			}
		}
	}
}

func has(v any, path []string) bool {
	if len(path) == 0 {
		return true
	}
	switch v := v.(type) {
	case map[string]any:
		next, ok := v[path[0]]
		return ok && has(next, path[1:])
	case []any:
		return len(v) > 0 && has(v[0], path[1:])
	}
	return false
}

func TestStatusOfEachKind(t *testing.T) {
	t.Parallel()
	for kind, want := range map[error]int{
		errdefs.ErrNotFound: 404, errdefs.ErrInvalidArgument: 400, errdefs.ErrAlreadyExists: 409, errdefs.ErrConflict: 409, errdefs.ErrFailedPrecondition: 409,
		errdefs.ErrPermissionDenied: 403, errdefs.ErrUnauthenticated: 401, errdefs.ErrNotModified: 304, errdefs.ErrNotImplemented: 501, errdefs.ErrUnavailable: 503,
		errdefs.ErrInternal: 500, errdefs.ErrDataLoss: 500, errors.New("of no kind"): 500, context.Canceled: 503,
	} {
		w := do(&fake{err: fmt.Errorf("stopping web: %w", kind)}, "POST", "/containers/web/stop", "")
		if w.Code != want {
			t.Errorf("%v: %d, want %d", kind, w.Code, want)
		}
		if want == 304 {
			if w.Body.Len() != 0 {
				t.Errorf("304 with body %q", w.Body)
			}
		} else if got := message(t, w); !strings.HasPrefix(got, "stopping web") {
			t.Errorf("%v: message %q", kind, got)
		}
	}
}

func TestWhatIsNotServed(t *testing.T) {
	t.Parallel()
	for request, want := range map[string]int{
		"POST /v1.40/build": 501, "GET /images/a/b/c/get": 501, "GET /images/get": 501, "POST /volumes/create": 501,
		"GET /networks": 501, "GET /networks/bridge": 501, "POST /session": 501, "POST /grpc": 501, "GET /system/df": 501,
		"POST /images/create?fromSrc=http%3A%2F%2Fh%2Fx.tar": 501, "POST /images/create?fromImage=busybox": 501, "DELETE /containers/web?link=1": 501,
		"GET /swarm": 503, "GET /nodes": 503, "GET /tasks/x/logs": 503,
		"GET /": 404, "GET /nonsense": 404, "GET /containers": 404, "POST /containers//start": 404, "PATCH /containers/web": 404, "GET /images//json": 404, "GET /v1.40": 404,
	} {
		method, path, _ := strings.Cut(request, " ")
		w := do(&fake{}, method, path, "")
		if w.Code != want {
			t.Errorf("%s: %d %s, want %d", request, w.Code, w.Body, want)
			continue
		}
		switch got := message(t, w); {
		case want == 404 && got != "page not found":
			t.Errorf("%s: %q", request, got)
		case want == 501 && !strings.Contains(got, "bothy does not"):
			t.Errorf("%s: %q", request, got)
		}
	}
	// docker inspect asks for a name as every kind of object: one that cannot be
	// there is not found.
	for path, want := range map[string]string{"/volumes/x": "get x: no such volume", "/plugins/x/json": `plugin "x" not found`} {
		if w := do(&fake{}, "GET", path, ""); w.Code != 404 || message(t, w) != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := do(&fake{}, "GET", "/volumes", ""); w.Code != 200 || w.Body.String() != `{"Volumes":[],"Warnings":[]}`+"\n" {
		t.Errorf("/volumes: %d %s", w.Code, w.Body)
	}
	if got := message(t, do(&fake{}, "POST", "/v1.40/build", "")); got != "bothy does not build images yet: build elsewhere, and load or import the result" {
		t.Errorf("POST /build: %q", got)
	}
}

// TestNoRouteIsHidden checks that no line of the table is unreachable behind an
// earlier one.
func TestNoRouteIsHidden(t *testing.T) {
	t.Parallel()
	s := New(&fake{}, Options{})
	for i, rt := range s.routes {
		path := strings.NewReplacer("{name}", "x", "{name...}", "x/y", "{checkpoint}", "c").Replace(rt.path)
		for j, other := range s.routes {
			if other.method != rt.method {
				continue
			}
			if _, ok := matchSegments(other.segments, strings.Split(strings.Trim(path, "/"), "/")); ok {
				if i != j {
					t.Errorf("%s %s is hidden by %s", rt.method, rt.path, other.path)
				}
				break
			}
		}
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxName+1)
	for _, test := range []struct{ request, body, want string }{
		{"POST /containers/create", `{"Image":`, "invalid JSON: unexpected EOF"},
		{"POST /containers/create", ` `, "invalid JSON: got EOF while reading request body"},
		{"POST /containers/create", `{"Image":"a"} x`, "unexpected content after JSON"},
		{"POST /containers/create", `{"Image":"a"}{}`, "unexpected content after JSON"},
		{"POST /containers/create", `{"Image":3}`, "invalid JSON: json: cannot unmarshal"},
		{"POST /containers/create", `[]`, "invalid JSON: json: cannot unmarshal"},
		{"POST /containers/create", `null`, "config cannot be empty"},
		{"POST /containers/create", `{}`, "config cannot be empty"},
		{"POST /containers/create", `{"HostConfig":{}}`, "config cannot be empty"},
		{"POST /containers/create?platform=%2F", `{"Image":"a"}`, "platform"},
		{"POST /containers/create", `{"Image":"a","MacAddress":"02:42:ac:11:00:02","HostConfig":{"NetworkMode":"host"}}`, "conflicting options: mac-address"},
		{"POST /containers/web/start", `{"Binds":[]}`, "starting container with non-empty request body"},
		{"POST /containers/web/stop?t=soon", "", "is not a number"},
		{"POST /containers/web/resize?h=1", "", "w must be a number"},
		{"POST /containers/web/resize?h=1&w=70000", "", "w must be a number"},
		{"POST /containers/web/rename", "", "new name"},
		{"POST /containers/web/wait?condition=tired", "", `invalid condition: "tired"`},
		{"GET /containers/web/logs", "", "you must choose at least one stream"},
		{"GET /containers/web/logs?stdout=1&tail=few", "", "tail"},
		{"GET /containers/web/logs?stdout=1&since=yesterday", "", "is no time"},
		{"GET /containers/json?filters=%7B", "", "invalid filter"},
		{"GET /containers/json?filters=%7B%22a%22%3A3%7D", "", "invalid filter"},
		{"GET /containers/json?limit=x", "", "is not a number"},
		{"GET /containers/json?%zz", "", "reading the query"},
		{"GET /events?since=20&until=10", "", "cannot be after"},
		{"GET /containers/" + long + "/json", "", "longer than"},
		{"GET /containers/json?x=" + strings.Repeat("x", maxQuery), "", "longer than"},
		{"POST /images/create", "", "name what to create"},
		{"POST /images/create?fromImage=UPPER", "", "invalid reference"},
		{"POST /images/create?fromImage=a&tag=%20", "", "invalid tag"},
		{"POST /images/create?fromSrc=-&tag=t", "", "needs a repository"},
		{"POST /images/x/tag", "", "name the repository"},
		{"POST /images/x/tag?repo=a@sha256:" + strings.Repeat("0", 64), "", "digest reference"},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		w := do(&fake{}, method, path, test.body)
		if got := message(t, w); w.Code != 400 || !strings.Contains(got, test.want) {
			t.Errorf("%.80s %s: %d %q, want 400 with %q", test.request, test.body, w.Code, got, test.want)
		}
	}
	if w := do(&fake{}, "POST", "/images/create?fromImage=a:b", "", "X-Registry-Auth", "!"); w.Code != 400 {
		t.Errorf("bad credentials: %d %s", w.Code, w.Body)
	}
	if w := do(&fake{}, "POST", "/containers/create", "{}", "Content-Type", "text/plain"); w.Code != 400 || !strings.Contains(message(t, w), "must be 'application/json'") {
		t.Errorf("a body that is no JSON: %d %s", w.Code, w.Body)
	}
	big := `{"Image":"` + strings.Repeat("x", maxBody) + `"}`
	if w := do(&fake{}, "POST", "/containers/create", big); w.Code != 413 || !strings.Contains(message(t, w), "larger than 4194304 bytes") {
		t.Errorf("a body that is too large: %d %.200s", w.Code, w.Body)
	}
	if w := do(&fake{}, "POST", "/containers/create", `{"Image":"a"}`+strings.Repeat(" ", maxBody)); w.Code != 413 {
		t.Errorf("a body with too much behind it: %d %.200s", w.Code, w.Body)
	}
}

func TestCreateOfOldClients(t *testing.T) {
	t.Parallel()
	f := &fake{}
	body := `{"Image":"a","Cmd":"ls","Entrypoint":["sh"],"MacAddress":"02:42:ac:11:00:02","Unknown":1,"HostConfig":{"AutoRemove":true,"PidsLimit":-1,"KernelMemory":5}}`
	if w := do(f, "POST", "/v1.24/containers/create?name=n", body); w.Code != 201 || w.Body.String() != `{"Id":"1","Warnings":[]}`+"\n" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	c := f.create
	if len(c.Config.Cmd) != 1 || c.Config.Cmd[0] != "ls" || len(c.Config.Entrypoint) != 1 {
		t.Errorf("command %q, entrypoint %q", c.Config.Cmd, c.Config.Entrypoint)
	}
	if c.HostConfig.AutoRemove || c.HostConfig.IpcMode != "" || c.HostConfig.PidsLimit != nil {
		t.Errorf("host config %+v", c.HostConfig)
	}
	if ep := c.Networking.EndpointsConfig["bridge"]; ep == nil || ep.MacAddress.String() != "02:42:ac:11:00:02" {
		t.Errorf("endpoints %+v", c.Networking.EndpointsConfig)
	}
	do(f, "POST", "/containers/create", `{"Image":"a","HostConfig":{"AutoRemove":true}}`)
	if c := f.create; !c.HostConfig.AutoRemove || c.HostConfig.IpcMode != "" || c.Config.Cmd != nil || c.Name != "" {
		t.Errorf("of a new client: %+v %+v", c.Config, c.HostConfig)
	}
}

func TestWaitOfOldClients(t *testing.T) {
	t.Parallel()
	f := &fake{wait: make(chan container.WaitResponse, 1)}
	f.wait <- container.WaitResponse{StatusCode: 3}
	if w := do(f, "POST", "/v1.24/containers/web/wait?condition=next-exit", ""); w.Code != 200 || w.Body.String() != `{"StatusCode":3}`+"\n" || f.last() != "wait web not-running" {
		t.Errorf("%d %s, engine was asked %q", w.Code, w.Body, f.last())
	}
}

type panicking struct{ fake }

func (*panicking) StartContainer(context.Context, string) error { panic("no") }

func TestPanicIsAnAnswer(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	New(&panicking{}, Options{Log: slog.New(slog.DiscardHandler)}).ServeHTTP(w, httptest.NewRequest("POST", "/containers/web/start", nil))
	if w.Code != 500 || !strings.Contains(message(t, w), "its log has the details") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestRawAttach speaks HTTP by hand: with and without an upgrade, the answer's
// first line and type are what clients compare.
func TestRawAttach(t *testing.T) {
	t.Parallel()
	f := &fake{attached: func(ctx context.Context, c Conn) {
		_, _ = io.Copy(c, c)
		if ctx.Err() != nil {
			_, _ = io.WriteString(c, "the end of the input ended the attach")
		}
	}}
	socket, _, _ := serveFake(t, f)
	for _, test := range []struct{ path, header, status, mediaType string }{
		{"/v1.41/containers/web/attach?stream=1&stdout=1", "Connection: Upgrade\r\nUpgrade: tcp\r\n", "101 UPGRADED", "application/vnd.docker.raw-stream"},
		{"/v1.42/containers/web/attach?stream=1&stdout=1", "Connection: Upgrade\r\nUpgrade: tcp\r\n", "101 UPGRADED", "application/vnd.docker.multiplexed-stream"},
		{"/containers/web/attach?stream=1&stdout=1", "", "200 OK", "application/vnd.docker.raw-stream"},
	} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		// stdin comes right behind the request
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nhello", test.path, test.header)
		_ = conn.(*net.UnixConn).CloseWrite()
		br := bufio.NewReader(conn)
		status, err := br.ReadString('\n')
		if err != nil || strings.TrimSpace(status) != "HTTP/1.1 "+test.status {
			t.Errorf("%s: %q, %v", test.path, status, err)
		}
		rest, err := io.ReadAll(br)
		if err != nil || !strings.HasPrefix(string(rest), "Content-Type: "+test.mediaType+"\r\n") || !strings.HasSuffix(string(rest), "\r\n\r\nhello") {
			t.Errorf("%s: %q, %v", test.path, rest, err)
		}
		_ = conn.Close()
	}
	w := do(f, "POST", "/containers/none/attach", "")
	if w.Code != 404 {
		t.Errorf("attach to nothing: %d %s", w.Code, w.Body)
	}
}

// TestBrokenUpload ends a chunked upload in the middle: the engine's read must
// fail instead of ending.
func TestBrokenUpload(t *testing.T) {
	t.Parallel()
	f := &fake{}
	socket, _, _ := serveFake(t, f)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /images/create?fromSrc=-&repo=a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwo")
	_ = conn.(*net.UnixConn).CloseWrite()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 500 || !errors.Is(f.bodyErr, io.ErrUnexpectedEOF) {
		t.Errorf("%d, engine read %q, %v", resp.StatusCode, f.body, f.bodyErr)
	}
}
