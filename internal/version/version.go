// Package version names this build.
package version

// Version is set by the linker (-X); "dev" is a build made by hand.
var Version = "dev"
