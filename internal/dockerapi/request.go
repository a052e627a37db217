package dockerapi

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds in bytes on what a client sends outside of archives.
const (
	maxPath  = 8 << 10
	maxQuery = 64 << 10
	maxName  = 4 << 10 // a variable in the path: container, image
	maxBody  = 4 << 20 // a JSON body
)

// request is an API request with its version, path variables and query.
type request struct {
	*http.Request
	version APIVersion
	vars    map[string]string
	query   url.Values
}

func newRequest(r *http.Request, version APIVersion, vars map[string]string) (*request, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("reading the query: %v", err)
	}
	for name, value := range vars {
		if len(value) > maxName {
			return nil, invalid("the %s in the path is longer than %d bytes", name, maxName)
		}
	}
	return &request{Request: r, version: version, vars: vars, query: query}, nil
}

// name is the path's variable: a container's, an image's or a network's.
func (r *request) name() string { return r.vars["name"] }

// boolean reads a flag as docker does: anything but a word for no is yes.
func (r *request) boolean(key string) bool {
	switch strings.ToLower(strings.TrimSpace(r.query.Get(key))) {
	case "", "0", "no", "false", "none":
		return false
	default:
		return true
	}
}

// booleanOr is boolean for a flag that is def when it is not given.
func (r *request) booleanOr(key string, def bool) bool {
	if !r.query.Has(key) {
		return def
	}
	return r.boolean(key)
}

// integer reads an optional number; nil: not given.
func (r *request) integer(key string) (*int, error) {
	text := r.query.Get(key)
	if text == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, invalid("%s=%q is not a number", key, text)
	}
	return &n, nil
}

// time reads a point in time; the zero time: not given.
func (r *request) time(key string) (time.Time, error) {
	t, err := parseTime(r.query.Get(key), time.Now())
	if err != nil {
		return time.Time{}, invalid("%s: %v", key, err)
	}
	return t, nil
}

// platform reads "os/arch[/variant]", or the JSON form of newer clients; nil:
// not given.
func (r *request) platform() (*ocispec.Platform, error) {
	text := r.query.Get("platform")
	if text == "" {
		return nil, nil
	}
	if len(r.query["platform"]) > 1 {
		return nil, notServed("bothy does not take several platforms at once yet: name one")
	}
	if strings.HasPrefix(text, "{") {
		var p ocispec.Platform
		if err := json.Unmarshal([]byte(text), &p); err != nil || p.OS == "" || p.Architecture == "" {
			return nil, invalid("platform=%q is no platform object", text)
		}
		return &p, nil
	}
	p, err := platforms.Parse(text)
	if err != nil {
		return nil, invalid("platform %q: %v; one looks like linux/amd64", text, err)
	}
	return &p, nil
}

// filters reads the request's filters.
func (r *request) filters() (Filters, error) {
	return parseFilters(r.query.Get("filters"))
}

// checkJSON refuses a body that does not say that it is JSON.
func (r *request) checkJSON() error {
	ct := r.Header.Get("Content-Type")
	if ct == "" && (r.Body == nil || r.ContentLength == 0) {
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(ct)
	if err != nil {
		return invalid("malformed Content-Type header (%s): %v", ct, err)
	}
	if mediaType != "application/json" {
		return invalid("unsupported Content-Type header (%s): must be 'application/json'", ct)
	}
	return nil
}

// decodeJSON reads one JSON value and nothing after it.
func decodeJSON(body io.Reader, v any) error {
	dec := json.NewDecoder(body)
	if err := dec.Decode(v); err != nil {
		return jsonError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		if err != nil && errors.As(err, new(*http.MaxBytesError)) {
			return jsonError(err)
		}
		return invalid("unexpected content after JSON")
	}
	return nil
}

func jsonError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &kindError{"the request's body is larger than " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes", tooLarge}
	case errors.Is(err, io.EOF):
		return invalid("invalid JSON: got EOF while reading request body")
	default:
		return invalid("invalid JSON: %v", err)
	}
}
