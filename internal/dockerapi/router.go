package dockerapi

import (
	"net/http"
	"strings"
)

// handler serves one endpoint. An error that it returns before it has written
// becomes the answer.
type handler func(w http.ResponseWriter, r *request) error

// route is one line of the table of endpoints. A segment "{x}" of its path
// matches one segment of the request's, "{x...}" one or more (image names have
// slashes).
type route struct {
	method, path string
	handle       handler
	segments     []string
}

// match finds the handler of a path without its version, and the values of the
// path's variables. Nil: no such endpoint. The first line that matches wins.
func (s *Server) match(method, path string) (handler, map[string]string) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i := range s.routes {
		rt := &s.routes[i]
		if rt.method != method {
			continue
		}
		if vars, ok := matchSegments(rt.segments, parts); ok {
			return rt.handle, vars
		}
	}
	return nil, nil
}

func matchSegments(pattern, parts []string) (map[string]string, bool) {
	vars := map[string]string{}
	for i, segment := range pattern {
		name, isVar := variable(segment)
		if rest, many := strings.CutSuffix(name, "..."); many {
			taken := len(parts) - (len(pattern) - i - 1) - i
			if taken < 1 {
				return nil, false
			}
			value := strings.Join(parts[i:i+taken], "/")
			tail, ok := matchSegments(pattern[i+1:], parts[i+taken:])
			if !ok || strings.Trim(value, "/") == "" {
				return nil, false
			}
			tail[rest] = value
			for k, v := range vars {
				tail[k] = v
			}
			return tail, true
		}
		if i >= len(parts) {
			return nil, false
		}
		switch {
		case isVar && parts[i] != "":
			vars[name] = parts[i]
		case segment != parts[i]:
			return nil, false
		}
	}
	return vars, len(parts) == len(pattern)
}

func variable(segment string) (string, bool) {
	if strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}") {
		return segment[1 : len(segment)-1], true
	}
	return "", false
}
