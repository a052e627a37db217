package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json`; go doc test2json tells of its fields.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build's events
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// test is one test of one package.
type test struct{ pkg, name string }

func (t test) String() string { return t.pkg + "." + t.name }

// summary counts tests that have no further tests in them, and packages that
// failed without a failing test: those that do not build, panic or run too long.
type summary struct {
	passed, failed, skipped int

	failures, skips []string
}

// reader takes events in.
type reader struct {
	out     io.Writer
	results map[test]string   // the tests' last action
	output  map[test][]string // what they printed; a package's own has no name
	failed  map[string]bool   // packages
	order   []test
}

// read reads all events and prints packages as they end.
func read(in io.Reader, out io.Writer) (*summary, error) {
	r := &reader{out: out, results: map[test]string{}, output: map[test][]string{}, failed: map[string]bool{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				fmt.Fprintf(out, "%s", line) // the go command's own words
			} else {
				r.take(e)
			}
		}
		if err == io.EOF {
			return r.sum(), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (r *reader) take(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "output":
		r.output[t] = append(r.output[t], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.end(e)
			return
		}
		r.results[t] = e.Action
		r.order = append(r.order, t)
		if e.Action == "fail" {
			fmt.Fprint(r.out, strings.Join(r.output[t], ""))
		}
		if e.Action != "skip" {
			delete(r.output, t)
		}
	}
}

// end prints a package's result.
func (r *reader) end(e event) {
	switch e.Action {
	case "pass":
		fmt.Fprintf(r.out, "ok    %-45s %6.1f s\n", e.Package, e.Elapsed)
	case "fail":
		r.failed[e.Package] = true
		r.unfinished(e.Package)
		fmt.Fprintf(r.out, "%sFAIL  %-45s %6.1f s\n", strings.Join(r.output[test{pkg: e.Package}], ""), e.Package, e.Elapsed)
	}
}

// unfinished prints what the tests that a package's end cut off had printed:
// there is the panic or the time-out.
func (r *reader) unfinished(pkg string) {
	for t, lines := range r.output {
		if t.pkg == pkg && t.name != "" && r.results[t] == "" {
			fmt.Fprint(r.out, strings.Join(lines, ""))
		}
	}
}

func (r *reader) sum() *summary {
	s := &summary{}
	parents := map[test]bool{}
	for t := range r.results {
		for name := t.name; strings.Contains(name, "/"); {
			name = name[:strings.LastIndex(name, "/")]
			parents[test{t.pkg, name}] = true
		}
	}
	counted := map[string]bool{} // packages with a failure that was counted
	for _, t := range r.order {
		if parents[t] && r.results[t] != "fail" {
			continue
		}
		switch r.results[t] {
		case "pass":
			s.passed++
		case "skip":
			s.skipped++
			s.skips = append(s.skips, fmt.Sprintf("%s: %s", t, reason(r.output[t])))
		case "fail":
			if parents[t] && r.failedBelow(t) {
				continue
			}
			s.failed++
			s.failures = append(s.failures, t.String())
			counted[t.pkg] = true
		}
	}
	for pkg := range r.failed {
		if !counted[pkg] {
			s.failed++
			s.failures = append(s.failures, pkg+" (the whole package)")
		}
	}
	slices.Sort(s.failures)
	slices.Sort(s.skips)
	return s
}

func (r *reader) failedBelow(t test) bool {
	for other, result := range r.results {
		if result == "fail" && other.pkg == t.pkg && strings.HasPrefix(other.name, t.name+"/") {
			return true
		}
	}
	return false
}

// reason finds in a skipped test's output what it gave as its reason.
func reason(output []string) string {
	var words []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") && line != "" {
			words = append(words, line)
		}
	}
	if len(words) == 0 {
		return "it gives no reason"
	}
	return strings.Join(words, " ")
}

func (s *summary) print(w io.Writer) {
	for _, t := range s.skips {
		fmt.Fprintf(w, "skipped  %s\n", t)
	}
	for _, t := range s.failures {
		fmt.Fprintf(w, "failed   %s\n", t)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
}
