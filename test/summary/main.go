// Command summary reads what `go test -json` prints, for any number of runs one
// after the other, and prints what a person wants to see: each package's
// result, the whole output of what failed, why each skipped test was skipped,
// and the numbers. It ends with 1 if anything failed, a build included.
package main

import (
	"fmt"
	"os"
)

func main() {
	s, err := read(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
	s.print(os.Stdout)
	if s.failed > 0 {
		os.Exit(1)
	}
}
