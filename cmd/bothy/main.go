// Command bothy is docker's command line, talking to bothy's engine.
package main

import (
	"context"
	"os"

	"bothy/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background()))
}
