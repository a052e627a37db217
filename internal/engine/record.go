package engine

import (
	"time"

	"bothy/internal/spec"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// schemaVersion is that of record and status on disk.
const schemaVersion = 1

// record is what a container was created as. It changes by rename only.
type record struct {
	SchemaVersion int       `json:"schemaVersion"`
	ID            string    `json:"id"`   // 64 hexadecimal digits
	Name          string    `json:"name"` // without docker's leading slash
	Created       time.Time `json:"created"`
	Home          spec.Home `json:"home"`    // spec.Process or spec.VM
	ImageID       string    `json:"imageID"` // "sha256:..."
	// Layers are the image's EROFS files, the lowest first. The image store
	// keeps them for as long as this record names the image.
	Layers     []string                  `json:"layers"`
	Platform   ocispec.Platform          `json:"platform"`
	Config     *container.Config         `json:"config"` // merged with the image's
	HostConfig *container.HostConfig     `json:"hostConfig"`
	Networking *network.NetworkingConfig `json:"networking,omitempty"`
}

// status is where a container is in its life.
type status struct {
	SchemaVersion int       `json:"schemaVersion"`
	State         State     `json:"state"`
	Pid           int       `json:"pid,omitempty"` // of the first process; in the VM home, as its guest counts
	ExitCode      int       `json:"exitCode"`
	Error         string    `json:"error,omitempty"`
	OOMKilled     bool      `json:"oomKilled,omitempty"`
	StartedAt     time.Time `json:"startedAt,omitzero"`
	FinishedAt    time.Time `json:"finishedAt,omitzero"`
	// Endpoint is the running container's place in its network; nil for none.
	Endpoint *endpoint `json:"endpoint,omitempty"`
	// Machine is the running container's virtual machine; nil in the process home.
	Machine *machineStatus `json:"machine,omitempty"`
}

// endpoint is what is remembered of a network endpoint.
type endpoint struct {
	Network    string `json:"network"` // its name
	NetworkID  string `json:"networkID"`
	EndpointID string `json:"endpointID"`
	IPAddress  string `json:"ipAddress"`
	PrefixLen  int    `json:"prefixLen"`
	Gateway    string `json:"gateway"`
	MAC        string `json:"mac"`
}

// machineStatus is a virtual machine's own size and make, apart from the
// limits of the container in it.
type machineStatus struct {
	Accelerator string `json:"accelerator"`
	Kernel      string `json:"kernel"` // the version
	Memory      int64  `json:"memory"` // bytes
	CPUs        int    `json:"cpus"`
	Start       string `json:"start,omitempty"`    // "booted", "restored" (from its template) or "pooled"
	Reason      string `json:"reason,omitempty"`   // why it was booted, if it was not to be
	Template    string `json:"template,omitempty"` // digest of the one that it goes on from, or should have
}
