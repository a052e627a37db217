package main

import (
	"bytes"
	"strings"
	"testing"
)

func summarise(t *testing.T, events ...string) (*summary, string) {
	t.Helper()
	var out bytes.Buffer
	s, err := read(strings.NewReader(strings.Join(events, "\n")), &out)
	if err != nil {
		t.Fatal(err)
	}
	return s, out.String()
}

func TestCountsTestsWithoutThoseThatHoldThem(t *testing.T) {
	t.Parallel()
	s, _ := summarise(t,
		`{"Action":"pass","Package":"p","Test":"TestA/one"}`,
		`{"Action":"output","Package":"p","Test":"TestA/two","Output":"    a_test.go:3: no kernel\n"}`,
		`{"Action":"output","Package":"p","Test":"TestA/two","Output":"--- SKIP: TestA/two\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestA/two"}`,
		`{"Action":"fail","Package":"p","Test":"TestA/three"}`,
		`{"Action":"fail","Package":"p","Test":"TestA"}`,
		`{"Action":"fail","Package":"p"}`,
		`{"Action":"pass","Package":"q","Test":"TestB"}`,
		`{"Action":"pass","Package":"q"}`)
	if s.passed != 2 || s.failed != 1 || s.skipped != 1 {
		t.Errorf("%d passed, %d failed, %d skipped", s.passed, s.failed, s.skipped)
	}
	if len(s.skips) != 1 || s.skips[0] != "p.TestA/two: a_test.go:3: no kernel" {
		t.Errorf("skips: %q", s.skips)
	}
}

func TestShowsTheOutputOfWhatFailed(t *testing.T) {
	t.Parallel()
	_, out := summarise(t,
		`{"Action":"output","Package":"p","Test":"TestA","Output":"fine\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestA"}`,
		`{"Action":"output","Package":"p","Test":"TestB","Output":"broken\n"}`,
		`{"Action":"fail","Package":"p","Test":"TestB"}`,
		`{"Action":"fail","Package":"p"}`)
	if strings.Contains(out, "fine") || !strings.Contains(out, "broken") {
		t.Error(out)
	}
}

func TestAPackageThatFailsWithoutATestIsAFailure(t *testing.T) {
	t.Parallel()
	for name, events := range map[string][]string{
		"a build":   {`{"ImportPath":"p","Action":"build-output","Output":"x.go:1: undefined: y\n"}`, `{"Action":"fail","Package":"p","FailedBuild":"p"}`},
		"a panic":   {`{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"output","Package":"p","Test":"TestA","Output":"panic: undefined: y\n"}`, `{"Action":"fail","Package":"p"}`},
		"TestMain":  {`{"Action":"output","Package":"p","Output":"undefined: y\n"}`, `{"Action":"fail","Package":"p"}`},
		"a holder":  {`{"Action":"pass","Package":"p","Test":"TestA/x"}`, `{"Action":"output","Package":"p","Test":"TestA","Output":"undefined: y\n"}`, `{"Action":"fail","Package":"p","Test":"TestA"}`, `{"Action":"fail","Package":"p"}`},
		"no events": {`go: undefined: y`, `{"Action":"fail","Package":"p"}`},
	} {
		s, out := summarise(t, events...)
		if s.failed != 1 || !strings.Contains(out, "undefined: y") {
			t.Errorf("%s: %d failed, printed %q", name, s.failed, out)
		}
	}
}
