// Package version names this build.
package version

// What the linker sets (-X; see the Makefile). A build made by hand has these.
var (
	// Version is a tag, or what git describe makes of it.
	Version = "dev"
	// Commit is the source's, abbreviated; "" if it is not known.
	Commit = ""
	// Time is that commit's, in RFC 3339, so that the same source gives the
	// same program; "" if it is not known.
	Time = ""
)
