package erofs

import (
	"path"
	"strings"
)

// walk goes from the root to the directory at the clean path dir, following
// symbolic links as a process would whose root is the layer's: a link can lead
// anywhere inside and never out. A missing component is made by missing; with
// a nil missing, walk answers nil.
func (t *tree) walk(dir string, missing func(p string) (*node, error)) (*node, error) {
	var stack []step
	rest, followed := dir, 0
	for rest != "" && rest != "." {
		name, tail, _ := strings.Cut(rest, "/")
		rest = tail
		switch name {
		case "", ".":
			continue
		case "..":
			if len(stack) > 0 {
				stack = stack[:len(stack)-1]
			}
			continue
		}
		if len(name) > maxName {
			return nil, refuse("the layer's entry %.40q... has a name of more than %d bytes", name, maxName)
		}
		if len(stack) >= maxDepth {
			return nil, refuse("the layer's entry %.40q... lies more than %d directories deep", dir, maxDepth)
		}
		here := t.top(stack)
		c := here.children[name]
		if c == nil && missing == nil {
			return nil, nil
		}
		if c == nil {
			made, err := missing(pathOf(stack, name))
			if err != nil {
				return nil, err
			}
			c = made
			if c.target == "" {
				here.children[name] = c
			}
		}
		switch {
		case c.mode.IsDir():
			stack = append(stack, step{name, c})
		case c.target != "":
			if followed++; followed > maxFollowed {
				return nil, refuse("the layer's entry %.80q lies behind too many symbolic links", dir)
			}
			if strings.HasPrefix(c.target, "/") {
				stack = stack[:0]
			}
			rest = c.target + "/" + rest
		default:
			return nil, refuse("the layer's entry %.80q lies below %q, which is not a directory", dir, pathOf(stack, name))
		}
	}
	return t.top(stack), nil
}

// maxDepth bounds how many directories deep an entry may lie: more than
// PATH_MAX allows to be opened.
const maxDepth = 2048

type step struct {
	name string
	dir  *node
}

func (t *tree) top(stack []step) *node {
	if len(stack) == 0 {
		return t.root
	}
	return stack[len(stack)-1].dir
}

func pathOf(stack []step, name string) string {
	parts := make([]string, 0, len(stack)+1)
	for _, s := range stack {
		parts = append(parts, s.name)
	}
	return "/" + path.Join(append(parts, name)...)
}
