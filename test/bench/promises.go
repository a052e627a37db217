package main

// promise is a limit that SPECIFICATION.md states.
type promise struct {
	what  string // a figure
	of    string // the figure that it is a part of; "": the limit is in the figure's own unit
	unit  string // the limit's, if of is ""
	limit float64
}

func (p promise) text() string {
	if p.of == "" {
		return p.what + ", " + p.unit
	}
	return p.what + " / " + p.of
}

// measured gives the figure as the promise has it, if it was measured.
func (p promise) measured(r *report) (float64, bool) {
	value, ok := r.value(p.what)
	if !ok || p.of == "" {
		return value, ok
	}
	base, ok := r.value(p.of)
	if !ok || base == 0 {
		return 0, false
	}
	return value / base, true
}

// The figures that promises are about; the others have their names where they
// are measured.
const (
	processName  = "bothy, process"
	dockerName   = "docker"
	runcName     = "runc run, a ready bundle"
	coldName     = "bothy, vm, booted"
	templateName = "bothy, vm, from a template"
	pooledName   = "bothy, vm, from the pool"
	besideName   = "docker, a container" // measured among the machines
	bareName     = "QEMU alone, bothy's settings, to PID 1's first line"
	togetherName = "machines started at once, all finished"
	inTurnName   = "as many times one"
	loneName     = "one idle vm of 256 MB, private"
	siblingName  = "each of its siblings, private"
	shimName     = "shim of an idle container, resident"
	psName       = "bothy ps"
	importName   = "bothy import"
	programName  = "containerd-shim-bothy-v2"
)

func promises() []promise {
	return []promise{
		{what: processName, of: dockerName, limit: 0.25},
		{what: processName, of: runcName, limit: 3},
		{what: coldName, of: bareName, limit: 1.5},
		{what: templateName, of: besideName, limit: 1},
		{what: pooledName, of: besideName, limit: 0.5},
		{what: togetherName, of: inTurnName, limit: 0.7},
		{what: loneName, unit: "MB", limit: 60},
		{what: siblingName, unit: "MB", limit: 45},
		{what: shimName, unit: "MB", limit: 6},
		{what: psName, unit: "ms", limit: 50},
		{what: importName, of: "docker import", limit: 0.25},
		{what: programName, unit: "MB", limit: 12},
	}
}
