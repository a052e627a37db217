// Command init is PID 1 of the machines that the tests boot: what the shim is
// to a real one.
package main

import (
	"fmt"
	"os"
	"runtime"

	"bothy/internal/executor"
	"bothy/internal/guest"
)

func main() {
	runtime.LockOSThread() // as the shim does
	if executor.IsInit() {
		executor.Init()
	}
	if len(os.Args) == 2 && os.Args[1] == "practice" { // in a container
		fmt.Println("ready")
		return
	}
	guest.Main()
}
