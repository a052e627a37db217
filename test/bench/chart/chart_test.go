package chart

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestDraw(t *testing.T) {
	t.Parallel()
	for name, groups := range map[string][]Group{
		"empty": {{Title: "nothing was measured"}},
		"start": {
			{Title: "run --rm busybox echo hi", Unit: "ms", Bars: []Bar{
				{Label: "bothy, process", Value: 41.5, Limit: 67.8},
				{Label: "docker", Value: 271, Peer: true},
				{Label: "runc <bare> & nothing else", Value: 9.04, Peer: true},
			}},
			{Title: "no group without bars"},
			{Title: "memory", Unit: "MB", Bars: []Bar{{Label: "none", Value: 0}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Draw(groups)
			wellFormed(t, got)
			path := "testdata/" + name + ".svg"
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the image differs from %s:\n%s", path, got)
			}
		})
	}
}

func wellFormed(t *testing.T, text string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
	}
}
