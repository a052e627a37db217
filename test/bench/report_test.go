package main

import (
	"errors"
	"strings"
	"testing"
)

func found() *report {
	r := &report{}
	r.add(section{name: "start", title: "run"}, []figure{
		{name: processName, unit: "ms", values: []float64{50, 40, 90}},
		{name: dockerName, unit: "ms", peer: true, values: []float64{100, 400, 200}},
		broken(runcName, errors.New("no\nrunc")),
	})
	r.add(section{name: "memory", title: "memory"}, []figure{one(shimName, "MB", 7)})
	return r
}

func TestPromises(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	found().printPromises(&out)
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{"promised", "bothy, process / docker 0.25 0.25 ok", "shim of an idle container, resident, MB 7.00 6.00 over"} {
		if i >= len(got) || !strings.Contains(strings.Join(strings.Fields(got[i]), " "), want) {
			t.Fatalf("line %d of\n%s\nis not %q", i, out.String(), want)
		}
	}
	if len(got) != 3 {
		t.Errorf("what was not measured is there:\n%s", out.String())
	}
}

func TestSectionIsPrinted(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	found().printSection(&out, "start")
	for _, want := range []string{"50 ms", "200 ms", "not measured: no runc"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestSVGShowsLimits(t *testing.T) {
	t.Parallel()
	got := found().svg()
	if n := strings.Count(got, `<line class="limit"`); n != 2 { // a quarter of docker's, and 6 MB
		t.Errorf("%d limits in\n%s", n, got)
	}
	if strings.Contains(got, runcName) {
		t.Error("what was not measured is drawn")
	}
}
