package guest

import (
	"fmt"
	"os"
	"runtime"
	"time"
)

// A container is made in some tenths of a second. When that takes as long as
// createPatience, what this process is doing goes to the console, of which at
// most stacksLimit bytes: the host names the console in its error soon after.
const (
	createPatience = 40 * time.Second
	stacksLimit    = 256 << 10
)

// watch begins to watch a step that may stand still; stop ends that.
func watch(step string) (stop func() bool) {
	return time.AfterFunc(createPatience, func() {
		stacks := make([]byte, stacksLimit)
		n := runtime.Stack(stacks, true)
		fmt.Fprintf(os.Stderr, "bothy: %s takes longer than %s; this is where it stands:\n%s\n", step, createPatience, stacks[:n])
	}).Stop
}
