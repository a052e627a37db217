// Package ps shows processes as the program ps does: it reads ps's options and
// makes the columns that they ask for.
//
// It is given the processes. It must not look for any itself: those that it
// shows may run on another kernel, in a virtual machine.
package ps

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"bothy/internal/shimapi"
)

// Process is one process to be shown; without Info nothing but its PID is known.
type Process struct {
	Pid  int
	Info *shimapi.Process
}

// Table gives the columns' titles and, a line for each process in the order of
// their PIDs, what they show. now is the time at which the processes were
// looked at; times are shown in its zone.
func (f Format) Table(processes []Process, now time.Time) (titles []string, lines [][]string) {
	for _, c := range f.columns {
		titles = append(titles, c.title)
	}
	sorted := slices.SortedFunc(slices.Values(processes), func(a, b Process) int { return cmp.Compare(a.Pid, b.Pid) })
	lines = [][]string{}
	for _, p := range sorted {
		line := make([]string, 0, len(f.columns))
		for _, c := range f.columns {
			line = append(line, c.cell(p, now))
		}
		lines = append(lines, line)
	}
	return titles, lines
}

// cell is what a column shows of a process, one line of text.
func (c column) cell(p Process, now time.Time) string {
	switch {
	case c.show == nil:
		return strconv.Itoa(p.Pid)
	case p.Info == nil:
		return "?"
	}
	return printable(c.show(p, now))
}

// printable shows by a question mark what is no character of a line of text: a
// process names itself, and what it says ends on somebody's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
