package executor

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const smaps = `00400000-00401000 r--p 00000000 fd:00 1 /bin/shim
Rss:                   4 kB
Anonymous:             0 kB
00401000-00b00000 r-xp 00001000 fd:00 1 /bin/shim
Rss:                4000 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00b00000-00b10000 r--p 00001000 fd:00 1 /bin/shim
Anonymous:             4 kB
00b10000-00b20000 rw-p 00001000 fd:00 1 /bin/shim
Anonymous:             0 kB
00c00000-00c20000 r--p 00000000 00:00 0
Anonymous:             0 kB
7ff000000000-7ff000001000 r-xp 00000000 00:00 0          [vdso]
Anonymous:             0 kB
`

func TestCleanFileMappings(t *testing.T) {
	t.Parallel()
	got, err := cleanFileMappings(strings.NewReader(smaps))
	if err != nil {
		t.Fatal(err)
	}
	if want := []mapping{{0x400000, 0x401000}, {0x401000, 0xb00000}}; !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func FuzzCleanFileMappings(f *testing.F) {
	f.Add(smaps)
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = cleanFileMappings(strings.NewReader(text))
	})
}

func TestTrimMemory(t *testing.T) {
	t.Parallel()
	for range 3 {
		if err := TrimMemory(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat("/"); err != nil { // the code is still there
			t.Fatal(err)
		}
	}
}
