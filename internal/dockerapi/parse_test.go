package dockerapi

import (
	"bytes"
	"encoding/base64"
	"reflect"
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "0": {}, "0.000000000": {},
		"12":                   time.Unix(12, 0),
		"12.5":                 time.Unix(12, 500_000_000),
		"12.000000007":         time.Unix(12, 7),
		"10m":                  now.Add(-10 * time.Minute),
		"2026-01-02T03:04:05Z": now,
		"2026-01-02":           time.Date(2026, 1, 2, 0, 0, 0, 0, time.Local),
	} {
		if got, err := parseTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"tomorrow", "1.x", "99999999999999999999", "2026-13-01"} {
		if got, err := parseTime(text, now); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestParseFilters(t *testing.T) {
	t.Parallel()
	want := Filters{"label": {"a=b": true, "c": true}}
	for _, text := range []string{`{"label":{"a=b":true,"c":true}}`, `{"label":["a=b","c"]}`, `{"label":{"a=b":true,"c":true,"d":false}}`} {
		if got, err := parseFilters(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func FuzzParseFilters(f *testing.F) {
	f.Add(`{"label":{"a=b":true}}`)
	f.Add(`{"label":["a"]}`)
	f.Add(`{"x":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		filters, err := parseFilters(text)
		if err == nil && filters == nil {
			t.Errorf("%q: nil filters", text)
		}
		for key, set := range filters {
			for value, on := range set {
				if !on {
					t.Errorf("%q: %s=%s is off", text, key, value)
				}
			}
		}
	})
}

func FuzzParseAuth(f *testing.F) {
	f.Add(base64.URLEncoding.EncodeToString([]byte(`{"username":"u","password":"p"}`)))
	f.Add("e30=")
	f.Add("e30")
	f.Add("bnVsbA==")
	f.Fuzz(func(t *testing.T, header string) {
		if auth, err := parseAuth(header); err != nil && auth != nil {
			t.Errorf("%q: %v and %v", header, auth, err)
		}
	})
}

func FuzzParseTime(f *testing.F) {
	f.Add("12.5")
	f.Add("10m")
	f.Add("2026-01-02T03:04:05Z")
	now := time.Unix(1, 0)
	f.Fuzz(func(t *testing.T, text string) {
		if at, err := parseTime(text, now); err != nil && !at.IsZero() {
			t.Errorf("%q: %v and %v", text, at, err)
		}
	})
}

func FuzzDecodeCreate(f *testing.F) {
	f.Add([]byte(`{"Image":"a","Cmd":"ls","HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"1"}]}},"NetworkingConfig":{"EndpointsConfig":{"x":null}}}`), "1.24")
	f.Add([]byte(`{"Entrypoint":[],"MacAddress":"02:42:ac:11:00:02"}`), "1.51")
	f.Fuzz(func(t *testing.T, body []byte, version string) {
		req, err := decodeCreate(bytes.NewReader(body), APIVersion(version))
		if err == nil && (req.Config == nil || req.HostConfig == nil || req.Networking == nil || req.Networking.EndpointsConfig == nil) {
			t.Errorf("%q: %+v", body, req)
		}
	})
}

func FuzzRequestPath(f *testing.F) {
	f.Add("/v1.40/images/a/b/json")
	f.Add("//v1./")
	f.Fuzz(func(t *testing.T, path string) {
		s := New(&fake{}, Options{})
		_, rest, err := splitVersion(path)
		if err != nil {
			return
		}
		for _, method := range []string{"GET", "POST", "DELETE"} {
			if _, vars := s.match(method, rest); vars != nil {
				for name, value := range vars {
					if value == "" {
						t.Errorf("%s: %s is empty", path, name)
					}
				}
			}
		}
	})
}
