package daemon

import (
	"encoding/json"
	"fmt"
	"strconv"

	"bothy/internal/engine"
)

// VMPool says how many virtual machines wait for the next container, for each
// size in use: a number, written as such or as text, or "auto".
type VMPool int

const (
	poolAuto VMPool = engine.PoolAuto
	poolMax  VMPool = 64
)

// Set reads a value.
func (p *VMPool) Set(text string) error {
	if text == "auto" {
		*p = poolAuto
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || VMPool(n) > poolMax {
		return fmt.Errorf("%q: choose auto, 0 for no virtual machines that wait, or a number up to %d", text, poolMax)
	}
	*p = VMPool(n)
	return nil
}

func (p *VMPool) String() string {
	if *p == poolAuto {
		return "auto"
	}
	return strconv.Itoa(int(*p))
}

// Type names the kind of value in the help text.
func (*VMPool) Type() string { return "auto|number" }

// UnmarshalJSON takes a number or a text.
func (p *VMPool) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		text = string(data)
	}
	if err := p.Set(text); err != nil {
		return fmt.Errorf("vm-pool: %w", err)
	}
	return nil
}
