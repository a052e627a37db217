// Command bothyd is bothy's engine: images, containers, networks and events
// behind the Docker Engine API.
package main

import (
	"os"

	"bothy/internal/daemon"
	"bothy/internal/version"
)

func main() {
	os.Exit(daemon.Main(version.Version, daemon.OpenEngine))
}
