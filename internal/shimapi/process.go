package shimapi

import "time"

// ProcessURL is the type URL of Process in the Info field (an Any whose value is
// JSON) of a task ProcessInfo. A process that ended meanwhile has none, and
// neither have those for which an answer has no room.
const ProcessURL = "bothy.v1.Process"

// Process is what the kernel that a process runs on tells of it.
type Process struct {
	Version int `json:"version"`

	PPid    int `json:"ppid"`
	PGid    int `json:"pgid"`
	Session int `json:"session"`
	// TTY is the terminal, "pts/0"; "": none. TPGid is its foreground group, -1 for none.
	TTY   string `json:"tty,omitempty"`
	TPGid int    `json:"tpgid"`

	State  string `json:"state"` // one letter, as in proc_pid_stat(5)
	Flags  uint64 `json:"flags"`
	Name   string `json:"name"`
	Args   string `json:"args,omitempty"` // joined by blanks, cut where they are long
	UID    uint32 `json:"uid"`
	EUID   uint32 `json:"euid"`
	GID    uint32 `json:"gid"`
	EGID   uint32 `json:"egid"`
	User   string `json:"user"` // names as the container's own files have them, or the number
	EUser  string `json:"euser"`
	Group  string `json:"group"`
	EGroup string `json:"egroup"`

	Priority int `json:"priority"`
	Nice     int `json:"nice"`
	Threads  int `json:"threads"`
	CPU      int `json:"cpu"` // that it ran on last

	Elapsed    time.Duration `json:"elapsed"` // since its start
	UserTime   time.Duration `json:"userTime"`
	SystemTime time.Duration `json:"systemTime"`

	VirtualSize   int64   `json:"virtualSize"`   // bytes
	Resident      int64   `json:"resident"`      // bytes
	MemoryPercent float64 `json:"memoryPercent"` // of its machine's
}
