package dockerapi

import (
	"strconv"
	"strings"
)

// APIVersion is a version of the Docker Engine API, "1.NN".
type APIVersion string

// The versions served: the newest whose answers still have the fields that
// older tools read, and the oldest that docker serves.
const (
	minVersion APIVersion = "1.24"
	maxVersion APIVersion = "1.51"
)

// splitVersion takes the optional /vX.Y prefix from a request's path. A path
// without one is for the newest version.
func splitVersion(path string) (APIVersion, string, error) {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	number, ok := strings.CutPrefix(first, "v")
	if !ok || number == "" || strings.Trim(number, "0123456789.") != "" {
		return maxVersion, path, nil
	}
	v := APIVersion(number)
	if _, _, ok := v.parts(); !ok {
		return "", "", invalid("client version %s is not an API version; one looks like %s", number, maxVersion)
	}
	return v, "/" + rest, nil
}

// supported refuses versions outside of those served, in docker's words, which
// some clients read.
func (v APIVersion) supported() error {
	if v.before(minVersion) {
		return invalid("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", v, minVersion)
	}
	if maxVersion.before(v) {
		return invalid("client version %s is too new. Maximum supported API version is %s", v, maxVersion)
	}
	return nil
}

// before says that v is older than other.
func (v APIVersion) before(other APIVersion) bool {
	major, minor, _ := v.parts()
	otherMajor, otherMinor, _ := other.parts()
	return major < otherMajor || major == otherMajor && minor < otherMinor
}

func (v APIVersion) parts() (major, minor int, ok bool) {
	a, b, _ := strings.Cut(string(v), ".")
	major, err := strconv.Atoi(a)
	if err != nil {
		return 0, 0, false
	}
	if b == "" {
		return major, 0, !strings.Contains(string(v), ".")
	}
	minor, err = strconv.Atoi(b)
	return major, minor, err == nil
}
