package dockerapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/registry"
)

// parseFilters reads the JSON of a filters parameter in the form of API 1.22
// and later, {"key":{"value":true}}, or the older {"key":["value"]}.
func parseFilters(text string) (Filters, error) {
	if text == "" {
		return Filters{}, nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, invalid("invalid filter: %v", err)
	}
	filters := make(Filters, len(raw))
	for key, value := range raw {
		set, err := parseFilterValues(value)
		if err != nil {
			return nil, invalid("invalid filter %q: %v", key, err)
		}
		filters[key] = set
	}
	return filters, nil
}

func parseFilterValues(value json.RawMessage) (map[string]bool, error) {
	var set map[string]bool
	if err := json.Unmarshal(value, &set); err == nil {
		for v, on := range set {
			if !on {
				delete(set, v)
			}
		}
		return set, nil
	}
	var list []string
	if err := json.Unmarshal(value, &list); err != nil {
		return nil, err
	}
	set = make(map[string]bool, len(list))
	for _, v := range list {
		set[v] = true
	}
	return set, nil
}

// timeLayouts are the forms of a date that docker's clients take, beside Unix
// time and durations. Those without a zone are local time.
var timeLayouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05.999999999",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
	"2006-01-02Z07:00",
	"2006-01-02",
}

// parseTime reads a point in time: "" (the zero time), Unix seconds with an
// optional fraction, a date, or a duration before now ("10m").
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, ok := parseUnix(text); ok {
		return t, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range timeLayouts {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: give Unix seconds, a date like 2006-01-02T15:04:05Z, or a duration like 10m", text)
}

// parseUnix reads "seconds[.fraction]". "0" is the epoch, which docker's
// clients send for "no bound": it gives the zero time.
func parseUnix(text string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || seconds > math.MaxInt64/int64(time.Second) || seconds < math.MinInt64/int64(time.Second) {
		return time.Time{}, false
	}
	nanos := int64(0)
	if fraction != "" {
		if strings.Trim(fraction, "0123456789") != "" {
			return time.Time{}, false
		}
		nanos, _ = strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	}
	if seconds == 0 && nanos == 0 {
		return time.Time{}, true
	}
	return time.Unix(seconds, nanos), true
}

// maxAuth bounds the header X-Registry-Auth, in bytes.
const maxAuth = 64 << 10

// parseAuth reads the header X-Registry-Auth: JSON in base64url, with padding
// or without. Nil: no credentials.
func parseAuth(header string) (*registry.AuthConfig, error) {
	if header == "" {
		return nil, nil
	}
	if len(header) > maxAuth {
		return nil, invalid("X-Registry-Auth is longer than %d bytes", maxAuth)
	}
	encoded := strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(header), "=")
	data, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil, invalid("invalid X-Registry-Auth header: %v", err)
	}
	var auth registry.AuthConfig
	if err := json.Unmarshal(data, &auth); err != nil {
		return nil, invalid("invalid X-Registry-Auth header: %v", err)
	}
	if auth == (registry.AuthConfig{}) {
		return nil, nil
	}
	return &auth, nil
}
