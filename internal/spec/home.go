package spec

import (
	"strings"

	"github.com/moby/moby/api/types/container"
)

// Home is where a container runs.
type Home = string

// The two homes.
const (
	Process Home = "process"
	VM      Home = "vm"
)

// ParseHome reads --isolation, in any case: "" and "default" give the host's
// own default (itself "process" or "vm", "" being "process"), "hyperv" is
// another word for "vm".
func ParseHome(isolation container.Isolation, byDefault Home) (Home, error) {
	switch strings.ToLower(string(isolation)) {
	case "", "default":
		if byDefault == "" {
			return Process, nil
		}
		return byDefault, nil
	case Process:
		return Process, nil
	case VM, "hyperv":
		return VM, nil
	}
	return "", invalidf("invalid isolation %q: use \"process\" (a container) or \"vm\" (a virtual machine of its own)", string(isolation))
}
