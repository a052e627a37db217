package main

import (
	"testing"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	p, err := parseStat("4711 (qemu (a) b) S 12 4711 4711 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 4 0 100 1 2 3")
	if err != nil || p != (process{pid: 4711, parent: 12, name: "qemu (a) b", ticks: 42}) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "1 (x", "1 (x) S 0", "x (x) S 0 0 0 0 0 0 0 0 0 0 0 0 0", "1 (x) S - 0 0 0 0 0 0 0 0 0 0 0 0"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParseRollup(t *testing.T) {
	t.Parallel()
	m, err := parseRollup([]byte("5581-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  100 kB\nPss:   60 kB\nPss_Dirty: 9 kB\nPrivate_Clean: 10 kB\nPrivate_Dirty: 30 kB\n"))
	if err != nil || m != (memory{private: 40 << 10, proportional: 60 << 10, resident: 100 << 10}) {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := parseRollup(nil); err == nil {
		t.Error("nothing was taken for memory")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("1 (x) S 0 0 0 0 0 0 0 0 0 0 1 2")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseStat(text) })
}

func TestBelow(t *testing.T) {
	t.Parallel()
	all := map[int]process{
		10: {pid: 10, parent: 1, name: "bothyd"}, 11: {pid: 11, parent: 10, name: "containerd-shim"},
		12: {pid: 12, parent: 11, name: "qemu-system-x86"}, 13: {pid: 13, parent: 1, name: "qemu-system-x86"},
	}
	if found := below(all, 10, "qemu-system"); len(found) != 1 || found[0].pid != 12 {
		t.Errorf("found %v", found)
	}
}
