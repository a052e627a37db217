package engineapi

import "github.com/moby/moby/api/types/container"

// ExtractRequest says how an archive is unpacked in a container.
type ExtractRequest struct {
	// NoOverwriteDirNonDir refuses to replace a directory by something else, or
	// the other way round.
	NoOverwriteDirNonDir bool
	// CopyUIDGID gives all of it to the container's user; one without a user
	// leaves it to whom the archive says.
	CopyUIDGID bool
}

// CommitRequest is the body and query of POST /commit, decoded.
type CommitRequest struct {
	Container string // a full ID, a name, or a unique prefix of an ID
	Ref       string // the image's name and tag; "": none
	Author    string
	Comment   string
	Changes   []string          // Dockerfile lines
	Config    *container.Config // nil: the container's own
	Pause     bool              // while its files are read
}
