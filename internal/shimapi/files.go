package shimapi

// FilesOptions say how the files of a container that does not run are to be
// seen.
type FilesOptions struct {
	// Binds are what of the host the container would see, in their order.
	// Process home only.
	Binds []FileBind `json:"binds,omitempty"`
	// ReadOnly is the root file system's, not that of the binds.
	ReadOnly bool `json:"readOnly,omitempty"`
}

// FileBind is a file or directory of the host and its place in a container.
type FileBind struct {
	Source   string `json:"source"` // absolute host path; one that isn't there is left out
	Target   string `json:"target"` // absolute, in the container
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// FilesOptionsURL is the type URL of FilesOptions (an Any whose value is JSON)
// in the request that a shim's host half sends to its guest for files.
const FilesOptionsURL = "bothy.v1.FilesOptions"
