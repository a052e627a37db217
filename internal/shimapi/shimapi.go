// Package shimapi holds what the engine and a shim say to each other beyond
// containerd's task service: the options of a Create call, the attach
// protocol, the exit record, and where the files between them lie.
//
// It is a leaf: it imports nothing of bothy, so that the shim stays small and
// the engine never reaches into the shim. All of it crosses a process boundary
// or a reboot, so every message carries a version.
package shimapi

import (
	"encoding/json"
	"time"
)

// Version is the schema version of every message in this package.
const Version = 1

// CreateOptionsURL is the type URL of CreateOptions in the Options field (an
// Any whose value is JSON) of a task CreateTaskRequest.
const CreateOptionsURL = "bothy.v1.CreateOptions"

// GuestOptionsURL is the type URL of GuestOptions in the Options field of the
// CreateTaskRequest that a shim's host half sends to its guest.
const GuestOptionsURL = "bothy.v1.GuestOptions"

// MachineMemory is the annotation of an Update that names the memory, in bytes,
// which the container's machine has at least before its limits change.
const MachineMemory = "bothy.v1.machine-memory"

// Names of the files in a bundle directory (<exec-root>/c/<container id>).
const (
	SpecFile     = "config.json"  // OCI runtime spec
	TaskSocket   = "task.sock"    // ttrpc: containerd.task.v3.Task
	AttachSocket = "io.sock"      // attach protocol, see AttachRequest
	PidFile      = "shim.pid"     // decimal pid of the shim
	ShimLog      = "shim.log"     // the shim's own messages and panics
	ConsoleLog   = "console.log"  // VM home: the guest kernel's console, bounded
	RootfsDir    = "rootfs"       // where the last of the rootfs mounts goes
	MachineFile  = "machine.json" // VM home: a MachineReport
	NetNSFile    = "netns"        // process home: the network namespace, bind-mounted in the shim's own mount namespace
)

// ExitFile is the name of the exit record in a container's state directory
// (<data-root>/containers/<container id>); it survives a reboot.
const ExitFile = "exit.json"

// File descriptors that the engine hands to a shim it starts. Listeners are
// made by the engine, so that it can connect before the shim has come up.
const (
	TaskListenerFD   = 3
	AttachListenerFD = 4
	NetworkFD        = 5 // first of the network's files: the network namespace (process) or one tap for each interface (vm)
)

// CreateOptions tells a shim what the task service's own fields cannot.
type CreateOptions struct {
	Version int `json:"version"`

	// StateDir is the container's directory under the data root, an absolute
	// host path: ExitFile is written there.
	StateDir string `json:"stateDir"`

	Log LogOptions `json:"log"`

	// Filters is a directory that keeps compiled seccomp filters for all
	// containers, an absolute host path; "": none does.
	Filters string `json:"filters,omitempty"`

	// OpenStdin keeps the container's stdin open with nobody attached;
	// StdinOnce closes it when the first attached client has gone.
	OpenStdin bool `json:"openStdin,omitempty"`
	StdinOnce bool `json:"stdinOnce,omitempty"`

	// NetNS says that the file NetworkFD is the container's network namespace
	// and is to be bind-mounted as NetNSFile, which the spec then names.
	NetNS bool `json:"netns,omitempty"`

	// Machine is set in the VM home and nil in the process home.
	Machine *Machine `json:"machine,omitempty"`

	// Files, if not nil, asks for the container's files alone: they are mounted,
	// in the VM home in a machine, and no process is made. What the shim then
	// serves is AttachRequest.Files; Shutdown ends it.
	Files *FilesOptions `json:"files,omitempty"`

	// Ephemeral says that nobody asks for the container after a power cut: its exit
	// record need not be forced to disk.
	Ephemeral bool `json:"ephemeral,omitempty"`

	// Trace is where the phases of the start are written; nil: nowhere.
	Trace *Trace `json:"trace,omitempty"`
}

// Trace is a file that everybody who takes part in a start adds lines to, see
// package trace.
type Trace struct {
	Path   string        `json:"path"`   // absolute host path
	Origin time.Duration `json:"origin"` // when the start was asked for, since the host's boot
}

// LogOptions says where a container's output is kept.
type LogOptions struct {
	// Driver is "json-file" (docker's format, one JSON object a line) or "none".
	Driver string `json:"driver"`
	// Path is the absolute host path of the json-file log.
	Path string `json:"path,omitempty"`
	// MaxSize is the size in bytes past which the file is rotated; 0: never.
	MaxSize int64 `json:"maxSize,omitempty"`
	// MaxFiles counts the files kept, the live one included; at least 1.
	MaxFiles int `json:"maxFiles,omitempty"`
}

// Machine describes the virtual machine of one container. Paths are absolute
// host paths, sizes bytes.
type Machine struct {
	QEMU      string `json:"qemu"`      // the QEMU system emulator
	Accel     string `json:"accel"`     // "kvm" or "tcg"
	Kernel    string `json:"kernel"`    // bzImage
	Initramfs string `json:"initramfs"` // newc cpio with the shim as /init
	Cmdline   string `json:"cmdline,omitempty"`
	Memory    int64  `json:"memory"`
	// MaxMemory is what the machine can grow to while it runs; 0: it cannot.
	MaxMemory int64 `json:"maxMemory,omitempty"`
	CPUs      int   `json:"cpus"`
	// OwnMemory gives a machine that goes on from a template a copy of its memory,
	// rather than that which its siblings share until they write to it.
	OwnMemory bool `json:"ownMemory,omitempty"`
	// UID and GID are what QEMU runs as: no other process has them.
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
	// Interfaces are in the order of their tap files, from NetworkFD on.
	Interfaces []Interface `json:"interfaces,omitempty"`
	// Files are the host files (absolute paths, each at most 1 MiB) that the
	// spec bind-mounts and the guest gets a copy of: resolv.conf, hosts, hostname.
	Files []string `json:"files,omitempty"`
	// BootTimeout bounds the time from starting QEMU to the guest's first word.
	BootTimeout time.Duration `json:"bootTimeout"`
	// Template, if not nil, is what the machine goes on from instead of booting.
	Template *Template `json:"template,omitempty"`
	// Fresh says that the writable disk is an untouched copy of the template's.
	Fresh bool `json:"fresh,omitempty"`
}

// Template is a machine that was kept where it waits for its first container.
// Two files follow those of the network: its memory, a sealed memory file, and
// the state of its devices. A machine that goes on from a template has one tap
// at least, even if it has no Interfaces.
type Template struct {
	Digest string `json:"digest"` // names it
}

// MachineReport says how a container's machine came up. The shim writes it to
// MachineFile, atomically, before Create answers.
type MachineReport struct {
	Version  int  `json:"version"`
	Restored bool `json:"restored,omitempty"` // it went on from a template
	Pooled   bool `json:"pooled,omitempty"`   // it had been waiting
	// Reason says why a machine that has a template was booted nonetheless.
	Reason string `json:"reason,omitempty"`
}

// Interface is one network interface as the container sees it.
type Interface struct {
	Name string `json:"name"` // "eth0"
	MAC  string `json:"mac"`  // "02:42:ac:11:00:02"
	// DeviceMAC is the address that the guest finds the device by, if it is not
	// MAC; the guest then gives it MAC.
	DeviceMAC string   `json:"deviceMAC,omitempty"`
	Addresses []string `json:"addresses"` // CIDR, "172.17.0.2/16"
	Gateways  []string `json:"gateways,omitempty"`
	MTU       int      `json:"mtu,omitempty"`
}

// GuestOptions is all that a guest needs to make one container: the host half
// of the shim reads it together, the guest half applies it.
type GuestOptions struct {
	Version    int             `json:"version"`
	Spec       json.RawMessage `json:"spec"` // OCI runtime spec
	Files      []File          `json:"files,omitempty"`
	Interfaces []Interface     `json:"interfaces,omitempty"`
	NewNetNS   bool            `json:"newNetNS,omitempty"`
	Time       time.Time       `json:"time"`    // the host's clock
	Entropy    []byte          `json:"entropy"` // 32 bytes for the guest's random generator
	// Trace makes the guest open the output stream TraceStream and write a line
	// after each phase of the start: microseconds since its kernel's start, a
	// space, the phase's name.
	Trace bool `json:"trace,omitempty"`
	// Filter is the spec's seccomp filter as the executor has compiled it; none
	// makes the guest compile it.
	Filter []byte `json:"filter,omitempty"`
}

// TraceStream names the stream that GuestOptions.Trace asks for.
const TraceStream = "trace"

// File is a file that the guest writes and bind-mounts where the spec has a
// mount whose source is HostPath.
type File struct {
	HostPath string `json:"hostPath"`
	Mode     uint32 `json:"mode"`
	Data     []byte `json:"data"`
}

// AttachRequest is the first line (JSON, then "\n") that a client writes to
// AttachSocket. The shim answers with one line, AttachResponse. After that the
// connection carries output from the shim, raw if the response says TTY, else
// in docker's multiplexed frames, and stdin to it, raw; a client that closes
// its writing side ends its stdin. The shim closes when output has ended.
// A connection that is registered before Start sees the very first byte.
type AttachRequest struct {
	Version int    `json:"version"`
	ExecID  string `json:"execID,omitempty"`
	// Files, if true, makes the connection, after the response, one of package
	// rootfs: a request to read or write the container's files. No other field
	// counts then.
	Files  bool `json:"files,omitempty"`
	Stdin  bool `json:"stdin,omitempty"`
	Stdout bool `json:"stdout,omitempty"`
	Stderr bool `json:"stderr,omitempty"`
}

// AttachResponse answers an AttachRequest; Error is empty on success. Code is
// the error's kind as the task service has it, a gRPC status code.
type AttachResponse struct {
	Error string `json:"error,omitempty"`
	Code  uint32 `json:"code,omitempty"`
	TTY   bool   `json:"tty,omitempty"`
}

// Exit is the exit record of a container's first process, written once by its
// shim, atomically, before Wait answers.
type Exit struct {
	Version   int       `json:"version"`
	Pid       int       `json:"pid"`
	Status    int       `json:"status"` // 0 to 255; 128+n for signal n
	ExitedAt  time.Time `json:"exitedAt"`
	OOMKilled bool      `json:"oomKilled,omitempty"`
	// Error says why the record was written by someone other than the process's
	// end: the machine died, the shim was killed.
	Error string `json:"error,omitempty"`
}
