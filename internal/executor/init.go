package executor

import (
	"os"

	_ "github.com/opencontainers/cgroups/devices" // lets libcontainer set device rules
	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // enters the namespaces before Go's runtime starts

	"bothy/internal/executor/filter"
	"bothy/internal/executor/sealed"
)

// IsInit says whether this process is the first step of a container: the
// program that serves the executor, executed again by libcontainer. Main asks
// before it does anything else, and calls Init if so.
func IsInit() bool {
	return len(os.Args) == 2 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_INITTYPE") != ""
}

// Init becomes the container's process. It doesn't return.
func Init() {
	filter.Adopt()
	libcontainer.Init()
}

// SealedSelf returns the running program as a sealed memory file, see package
// sealed. A program that runs from such a file starts containers without
// libcontainer's protective copy of itself. The caller closes it.
func SealedSelf() (*os.File, error) {
	return sealed.File("/proc/self/exe")
}
