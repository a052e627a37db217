package image

import (
	"fmt"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// variables finds an environment variable's value. Nil: none are replaced.
type variables func(name string) (value string, set bool)

// variablesOf are those that an image's config has.
func variablesOf(c *dockerspec.DockerOCIImageConfig) variables {
	return func(name string) (string, bool) {
		for _, e := range c.Env {
			if k, v, _ := strings.Cut(e, "="); k == name {
				return v, true
			}
		}
		return "", false
	}
}

// expand replaces variables as a Dockerfile does: $name, ${name}, ${name:-word}
// and ${name:+word}, the last two without the colon, too. A backslash before a
// dollar sign takes it as it is.
func (get variables) expand(s string) (string, error) {
	var out strings.Builder
	rs := []rune(s)
	for i := 0; i < len(rs); i++ {
		switch {
		case rs[i] == '\\' && i+1 < len(rs) && rs[i+1] == '$':
			i++
			out.WriteRune('$')
		case rs[i] == '$':
			value, used, err := get.at(rs[i:])
			if err != nil {
				return "", err
			}
			out.WriteString(value)
			i += used - 1
		default:
			out.WriteRune(rs[i])
		}
	}
	return out.String(), nil
}

// at replaces what begins with a dollar sign, and says how many runes that are.
func (get variables) at(rs []rune) (value string, used int, err error) {
	if len(rs) > 1 && rs[1] == '{' {
		return get.braced(rs)
	}
	n := nameLength(rs[1:])
	if n == 0 {
		return "$", 1, nil
	}
	value, _ = get(string(rs[1 : 1+n]))
	return value, 1 + n, nil
}

// braced replaces ${...}.
func (get variables) braced(rs []rune) (string, int, error) {
	end := strings.IndexRune(string(rs), '}')
	if end < 0 {
		return "", 0, fmt.Errorf("a ${ is not closed")
	}
	body := []rune(string(rs)[2:end])
	used := len(body) + 3
	n := nameLength(body)
	name, rest := string(body[:n]), string(body[n:])
	value, set := get(name)
	if strings.HasPrefix(rest, ":") { // an empty value counts as none
		set, rest = value != "", rest[1:]
		if rest == "" {
			return "", 0, fmt.Errorf("${%s} is no variable", string(body))
		}
	}
	switch {
	case n == 0 || rest != "" && rest[0] != '-' && rest[0] != '+':
		return "", 0, fmt.Errorf("${%s} is no variable", string(body))
	case rest == "", rest[0] == '-' && set:
		return value, used, nil
	case rest[0] == '+' && !set:
		return "", used, nil
	}
	return rest[1:], used, nil
}

// nameLength is how many runes a variable's name at the beginning has.
func nameLength(rs []rune) int {
	for i, r := range rs {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return i
		}
	}
	return len(rs)
}
