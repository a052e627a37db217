package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"bothy/test/bench/chart"
)

// figure is one thing that was measured: several times, in a unit.
type figure struct {
	name   string
	unit   string
	peer   bool // somebody else's
	values []float64
	// problem says why there are no values.
	problem error
}

// median is the middle value, NaN-free because it is asked for only with values.
func (f figure) median() float64 {
	sorted := slices.Sorted(slices.Values(f.values))
	return sorted[len(sorted)/2]
}

// one is a figure that has a single value.
func one(name, unit string, value float64) figure {
	return figure{name: name, unit: unit, values: []float64{value}}
}

// broken is a figure that could not be measured.
func broken(name string, err error) figure { return figure{name: name, problem: err} }

// report is what was found, section by section.
type report struct {
	sections []section
	figures  map[string][]figure // by section
}

func (r *report) add(s section, found []figure) {
	if r.figures == nil {
		r.figures = map[string][]figure{}
	}
	r.sections = append(r.sections, s)
	r.figures[s.name] = found
}

// value gives the median of a figure, if it was measured.
func (r *report) value(name string) (float64, bool) {
	for _, found := range r.figures {
		for _, f := range found {
			if f.name == name && f.problem == nil && len(f.values) > 0 {
				return f.median(), true
			}
		}
	}
	return 0, false
}

func (r *report) printSection(w io.Writer, name string) {
	i := slices.IndexFunc(r.sections, func(s section) bool { return s.name == name })
	fmt.Fprintf(w, "\n%-52s %12s %10s %10s %7s\n", r.sections[i].title, "median", "least", "most", "rounds")
	for _, f := range r.figures[name] {
		if f.problem != nil {
			fmt.Fprintf(w, "%-52s not measured: %s\n", f.name, firstLines(f.problem.Error()))
			continue
		}
		if len(f.values) == 0 {
			continue
		}
		fmt.Fprintf(w, "%-52s %9s %-2s %10s %10s %7d\n", f.name, digits(f.median()), f.unit, digits(slices.Min(f.values)), digits(slices.Max(f.values)), len(f.values))
	}
}

// firstLines keeps a program's complaint to what fits on a screen.
func firstLines(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), 300)]
}

func digits(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func (r *report) printPromises(w io.Writer) {
	fmt.Fprintf(w, "\n%-72s %9s %9s\n", "promised", "measured", "at most")
	for _, p := range promises() {
		value, ok := p.measured(r)
		if !ok {
			continue
		}
		verdict := "ok"
		if value > p.limit {
			verdict = "over"
		}
		fmt.Fprintf(w, "%-72s %9s %9s  %s\n", p.text(), digits(value), digits(p.limit), verdict)
	}
}

// svg draws the report.
func (r *report) svg() string {
	var groups []chart.Group
	for _, s := range r.sections {
		byUnit := map[string]int{} // a scale for each
		for _, f := range r.figures[s.name] {
			if f.problem != nil || len(f.values) == 0 {
				continue
			}
			i, ok := byUnit[f.unit]
			if !ok {
				i = len(groups)
				byUnit[f.unit] = i
				groups = append(groups, chart.Group{Title: s.title, Unit: f.unit})
			}
			groups[i].Bars = append(groups[i].Bars, chart.Bar{Label: f.name, Value: f.median(), Peer: f.peer, Limit: r.limit(f.name)})
		}
	}
	return chart.Draw(groups)
}

// limit is the least that a figure was promised not to exceed, in its own unit; 0
// if it was not.
func (r *report) limit(name string) float64 {
	least := 0.0
	for _, p := range promises() {
		if p.what != name {
			continue
		}
		limit := p.limit
		if p.of != "" {
			base, ok := r.value(p.of)
			if !ok {
				continue
			}
			limit *= base
		}
		if least == 0 || limit < least {
			least = limit
		}
	}
	return least
}
