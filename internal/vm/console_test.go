package vm

import (
	"strings"
	"testing"
)

func TestLastWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, console, quote string
		panic                bool
	}{
		{"nothing", "\n\n", "", false},
		{"a panic", "bothy: guest is up\n[    9.1] a\n[   10.2] sysrq: Trigger a crash\n[   10.2] Kernel panic - not syncing: sysrq triggered crash\r\n[   10.3] CPU: 0\nb\nc\nd\ne\nf\n",
			"sysrq: Trigger a crash / Kernel panic - not syncing: sysrq triggered crash / CPU: 0 / b / c / d", true},
		{"power off", "one\ntwo\nbothy: the host is gone\n[    6.781768] reboot: Power down\n", "two / bothy: the host is gone / reboot: Power down", false},
		{"unprintable", "\x1b[2J\xff\u202ex", "?[2J??x", false},
		{"long", strings.Repeat("x", 5000), strings.Repeat("x", quotedLine), false},
	} {
		if quote, panic := lastWords(c.console); quote != c.quote || panic != c.panic {
			t.Errorf("%s: %q, %t", c.name, quote, panic)
		}
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	var end tail
	for range 3 {
		_, _ = end.Write([]byte(strings.Repeat("a", tailLimit/2)))
	}
	_, _ = end.Write([]byte("end"))
	if text := end.text(); len(text) != tailLimit || !strings.HasSuffix(text, "aend") {
		t.Errorf("%d bytes, %q", len(text), text[len(text)-8:])
	}
	_, _ = end.Write([]byte(strings.Repeat("b", 2*tailLimit) + "c"))
	if text := end.text(); len(text) != tailLimit || !strings.HasSuffix(text, "bc") {
		t.Errorf("%d bytes, %q", len(text), text[len(text)-8:])
	}
}

func FuzzLastWords(f *testing.F) {
	f.Add("[    1.0] Kernel panic - not syncing\n")
	f.Add("\x00\r\n[ .] \u2028")
	f.Fuzz(func(t *testing.T, console string) {
		quote, _ := lastWords(console)
		if len(quote) > quotedLines*(quotedLine+3) {
			t.Errorf("%d bytes", len(quote))
		}
		if strings.ContainsFunc(quote, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q", quote)
		}
	})
}
