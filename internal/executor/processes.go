package executor

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/containerd/api/types/task"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"bothy/internal/shimapi"
)

const (
	// maxArgs bounds a command line in an answer, in bytes.
	maxArgs = 4 << 10
	// maxInfos bounds what an answer tells of all processes, in bytes: a message
	// of the task service has at most 4 MiB.
	maxInfos = 2 << 20
)

// describe tells of processes, as far as there is room.
func (c *container) describe(pids []int) []*task.ProcessInfo {
	look := newProcessLook(c.root)
	room := maxInfos
	infos := make([]*task.ProcessInfo, 0, len(pids))
	for _, pid := range pids {
		info := &task.ProcessInfo{Pid: uint32(pid)}
		infos = append(infos, info)
		if room <= 0 {
			continue
		}
		p, err := look.at(pid)
		if err != nil {
			continue // it has ended
		}
		data, err := json.Marshal(p)
		if err != nil {
			continue
		}
		room -= len(data)
		info.Info = &anypb.Any{TypeUrl: shimapi.ProcessURL, Value: data}
	}
	return infos
}

// processLook reads processes from /proc at one moment.
type processLook struct {
	proc   string
	uptime float64 // of the machine, in seconds
	memory int64   // its size, in bytes
	page   int64
	users  map[uint32]string
	groups map[uint32]string
}

func newProcessLook(root string) *processLook {
	l := &processLook{proc: "/proc", page: int64(os.Getpagesize()), users: userNames(root), groups: groupNames(root)}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) == nil {
		l.uptime = float64(now.Nano()) / 1e9
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		l.memory = int64(info.Totalram) * int64(info.Unit)
	}
	return l
}

// at reads one process.
func (l *processLook) at(pid int) (*shimapi.Process, error) {
	dir := l.proc + "/" + strconv.Itoa(pid) + "/"
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return nil, err
	}
	p, start, err := parseStat(string(stat), l.page)
	if err != nil {
		return nil, err
	}
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return nil, err
	}
	parseIDs(string(status), p)
	args, err := os.ReadFile(dir + "cmdline")
	if err != nil {
		return nil, err
	}
	p.Version = shimapi.Version
	p.Args = joinArgs(args)
	p.User, p.EUser = nameOf(l.users, p.UID), nameOf(l.users, p.EUID)
	p.Group, p.EGroup = nameOf(l.groups, p.GID), nameOf(l.groups, p.EGID)
	p.Elapsed = max(0, seconds(l.uptime)-start)
	if l.memory > 0 {
		p.MemoryPercent = float64(p.Resident) * 100 / float64(l.memory)
	}
	return p, nil
}

// joinArgs puts a command line, whose words end in zeros, on one line.
func joinArgs(raw []byte) string {
	text := strings.TrimRight(string(raw[:min(len(raw), maxArgs)]), "\x00")
	return strings.Map(func(r rune) rune {
		switch {
		case r == 0:
			return ' '
		case r < ' ' || r == 0x7f:
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

func nameOf(names map[uint32]string, id uint32) string {
	if name, ok := names[id]; ok {
		return name
	}
	return strconv.FormatUint(uint64(id), 10)
}

// userNames reads the image's own names; what cannot be read has none.
func userNames(root string) map[uint32]string {
	names := map[uint32]string{}
	file, err := openInRoot(root, "/etc/passwd")
	if err != nil {
		return names
	}
	defer file.Close()
	_, _ = user.ParsePasswdFilter(file, func(u user.User) bool {
		if _, ok := names[uint32(u.Uid)]; !ok {
			names[uint32(u.Uid)] = u.Name
		}
		return false
	})
	return names
}

func groupNames(root string) map[uint32]string {
	names := map[uint32]string{}
	file, err := openInRoot(root, "/etc/group")
	if err != nil {
		return names
	}
	defer file.Close()
	_, _ = user.ParseGroupFilter(file, func(g user.Group) bool {
		if _, ok := names[uint32(g.Gid)]; !ok {
			names[uint32(g.Gid)] = g.Name
		}
		return false
	})
	return names
}
