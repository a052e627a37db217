package kernel

import "strings"

// compareVersions orders kernel versions as a package manager would: runs of
// digits by value, the rest by character, "~" and a release candidate before
// the release. It returns a negative number, 0, or a positive number.
func compareVersions(a, b string) int {
	a, b = strings.ReplaceAll(a, "-rc", "~rc"), strings.ReplaceAll(b, "-rc", "~rc")
	for a != "" || b != "" {
		var x, y string
		x, a = cutRun(a, notDigit)
		y, b = cutRun(b, notDigit)
		if c := compareText(x, y); c != 0 {
			return c
		}
		x, a = cutRun(a, digit)
		y, b = cutRun(b, digit)
		if c := compareNumber(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// cutRun splits s behind the longest prefix whose bytes all satisfy in.
func cutRun(s string, in func(byte) bool) (run, rest string) {
	i := 0
	for i < len(s) && in(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

// compareNumber compares decimal digits of any length; none count as 0.
func compareNumber(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// compareText compares by character, where "~" is less even than the end.
func compareText(a, b string) int {
	for i := 0; i < len(a) || i < len(b); i++ {
		if c := weight(a, i) - weight(b, i); c != 0 {
			return c
		}
	}
	return 0
}

func weight(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] == '~':
		return -1
	}
	return int(s[i])
}

func digit(c byte) bool    { return '0' <= c && c <= '9' }
func notDigit(c byte) bool { return !digit(c) }
