package shim

import (
	"bytes"
	"strings"
	"testing"
)

func TestBounded(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	b := &bounded{w: &out, left: 8}
	for _, s := range []string{"1234", "5678", "9", strings.Repeat("x", 100)} {
		if n, err := b.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("writing %q: %d, %v", s, n, err)
		}
	}
	if out.String() != "12345678" {
		t.Errorf("%q was written", out.String())
	}
}
