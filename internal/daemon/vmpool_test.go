package daemon

import (
	"strings"
	"testing"
)

func TestVMPool(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{`{}`: -1, `{"vm-pool": "auto"}`: -1, `{"vm-pool": 0}`: 0, `{"vm-pool": 3}`: 3, `{"vm-pool": "2"}`: 2} {
		cfg, err := configure(t, text)
		if err != nil {
			t.Fatal(err)
		}
		if opts, err := cfg.engineOptions(); err != nil || opts.VM.Pool != want {
			t.Errorf("%s: %d, %v", text, opts.VM.Pool, err)
		}
	}
	for _, text := range []string{`{"vm-pool": -1}`, `{"vm-pool": "many"}`, `{"vm-pool": 65}`, `{"vm-pool": 1.5}`, `{"vm-pool": null}`} {
		if cfg, err := configure(t, text); err == nil || !strings.Contains(err.Error(), "choose auto") {
			t.Errorf("%s: %v, %v", text, cfg.VMPool, err)
		}
	}
	cfg, err := configure(t, "", "--vm-pool", "5")
	if err != nil || cfg.VMPool != 5 || cfg.VMPool.String() != "5" {
		t.Errorf("by flag: %v, %v", cfg.VMPool, err)
	}
}
