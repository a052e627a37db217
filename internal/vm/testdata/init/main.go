// Command init is PID 1 of the machines that the tests boot: what the shim is
// to a real one.
package main

import (
	"bothy/internal/executor"
	"bothy/internal/guest"
)

func main() {
	if executor.IsInit() {
		executor.Init()
	}
	guest.Main()
}
