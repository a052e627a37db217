package daemon

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestEveryOptionIsDocumented holds docs/configuration.md to the flags and keys
// that there are.
func TestEveryOptionIsDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for key, flag := range fileKeys() {
		keys[flag] = key
	}
	cfg, flags := Defaults(), pflag.NewFlagSet("", pflag.ContinueOnError)
	cfg.bind(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		key := keys[f.Name]
		if key == "" {
			key = f.Name
		}
		for _, word := range []string{"`--" + f.Name + "`", "`" + key + "`"} {
			if !strings.Contains(string(doc), word) {
				t.Errorf("docs/configuration.md does not have %s", word)
			}
		}
	})
}
