package ps

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bothy/internal/shimapi"
)

// column is one column: its title and what it shows; show is nil for the PID.
type column struct {
	title string
	show  show
}

type show func(p Process, now time.Time) string

type process = shimapi.Process

func number(get func(*process) int) show {
	return func(p Process, _ time.Time) string { return strconv.Itoa(get(p.Info)) }
}

func text(get func(*process) string) show {
	return func(p Process, _ time.Time) string { return get(p.Info) }
}

func kibibytes(get func(*process) int64) show {
	return func(p Process, _ time.Time) string { return strconv.FormatInt(get(p.Info)>>10, 10) }
}

// specifiers are the names of columns that -o takes, with ps's titles.
func specifiers() map[string]column {
	all := map[string]column{}
	add := func(title string, show show, names ...string) {
		for _, name := range names {
			all[name] = column{title, show}
		}
	}
	add("PID", nil, "pid", "tgid")
	add("PPID", number(func(p *process) int { return p.PPid }), "ppid")
	add("PGID", number(func(p *process) int { return p.PGid }), "pgid")
	add("PGRP", number(func(p *process) int { return p.PGid }), "pgrp")
	add("SID", number(func(p *process) int { return p.Session }), "sid")
	add("SESS", number(func(p *process) int { return p.Session }), "sess", "session")
	add("TPGID", number(func(p *process) int { return p.TPGid }), "tpgid")
	add("UID", number(func(p *process) int { return int(p.EUID) }), "uid")
	add("EUID", number(func(p *process) int { return int(p.EUID) }), "euid")
	add("RUID", number(func(p *process) int { return int(p.UID) }), "ruid")
	add("GID", number(func(p *process) int { return int(p.EGID) }), "gid")
	add("EGID", number(func(p *process) int { return int(p.EGID) }), "egid")
	add("RGID", number(func(p *process) int { return int(p.GID) }), "rgid")
	add("USER", text(func(p *process) string { return p.EUser }), "user", "uname")
	add("EUSER", text(func(p *process) string { return p.EUser }), "euser")
	add("RUSER", text(func(p *process) string { return p.User }), "ruser")
	add("GROUP", text(func(p *process) string { return p.EGroup }), "group")
	add("EGROUP", text(func(p *process) string { return p.EGroup }), "egroup")
	add("RGROUP", text(func(p *process) string { return p.Group }), "rgroup")
	add("COMMAND", text(func(p *process) string { return p.Name }), "comm", "ucomm")
	add("CMD", text(func(p *process) string { return p.Name }), "ucmd")
	add("COMMAND", text(command), "args", "command")
	add("CMD", text(command), "cmd")
	add("TTY", text(terminal), "tty", "tname")
	add("TT", text(terminal), "tt")
	add("STAT", stat, "stat")
	add("S", text(func(p *process) string { return p.State }), "s", "state")
	add("F", text(func(p *process) string { return strconv.FormatUint(p.Flags>>6&7, 8) }), "f", "flag", "flags")
	add("%CPU", text(func(p *process) string { return fmt.Sprintf("%.1f", busy(p)) }), "%cpu", "pcpu")
	add("C", text(func(p *process) string { return strconv.Itoa(int(min(busy(p), 99))) }), "c")
	add("%MEM", text(func(p *process) string { return fmt.Sprintf("%.1f", p.MemoryPercent) }), "%mem", "pmem")
	add("VSZ", kibibytes(func(p *process) int64 { return p.VirtualSize }), "vsz", "vsize")
	add("RSS", kibibytes(func(p *process) int64 { return p.Resident }), "rss", "rssize")
	add("RSZ", kibibytes(func(p *process) int64 { return p.Resident }), "rsz")
	add("SZ", text(func(p *process) string { return strconv.FormatInt(p.VirtualSize>>12, 10) }), "sz", "size")
	add("NI", number(func(p *process) int { return p.Nice }), "ni", "nice")
	add("PRI", number(func(p *process) int { return 39 - p.Priority }), "pri")
	add("NLWP", number(func(p *process) int { return p.Threads }), "nlwp")
	add("THCNT", number(func(p *process) int { return p.Threads }), "thcount")
	add("PSR", number(func(p *process) int { return p.CPU }), "psr")
	add("ELAPSED", text(func(p *process) string { return elapsed(p.Elapsed) }), "etime")
	add("ELAPSED", text(func(p *process) string { return strconv.FormatInt(int64(p.Elapsed/time.Second), 10) }), "etimes")
	add("TIME", text(cpuTime), "time", "cputime")
	add("STARTED", started, "start")
	add("START", started, "start_time")
	add("STIME", started, "stime")
	return all
}

// command is the command line, or as ps has it the name where there is none.
func command(p *process) string {
	switch {
	case p.State == "Z":
		return "[" + p.Name + "] <defunct>"
	case p.Args == "":
		return "[" + p.Name + "]"
	}
	return p.Args
}

func terminal(p *process) string {
	if p.TTY == "" {
		return "?"
	}
	return p.TTY
}

// stat is the state with ps's further letters.
func stat(one Process, _ time.Time) string {
	p := one.Info
	var s strings.Builder
	s.WriteString(p.State)
	switch {
	case p.Nice < 0:
		s.WriteByte('<')
	case p.Nice > 0:
		s.WriteByte('N')
	}
	if p.Session == one.Pid {
		s.WriteByte('s')
	}
	if p.Threads > 1 {
		s.WriteByte('l')
	}
	if p.TPGid > 0 && p.TPGid == p.PGid {
		s.WriteByte('+')
	}
	return s.String()
}

// busy is the part of its life in which the process ran, in percent of one CPU.
func busy(p *process) float64 {
	if p.Elapsed <= 0 {
		return 0
	}
	return float64(p.UserTime+p.SystemTime) * 100 / float64(p.Elapsed)
}

// cpuTime is [days-]hours:minutes:seconds.
func cpuTime(p *process) string {
	days, h, m, s := split(p.UserTime + p.SystemTime)
	if days > 0 {
		return fmt.Sprintf("%d-%02d:%02d:%02d", days, h, m, s)
	}
	return fmt.Sprintf("%02d:%02d:%02d", h, m, s)
}

// shortTime is minutes:seconds, BSD's form of cpuTime.
func shortTime(p *process) string {
	all := int64((p.UserTime + p.SystemTime) / time.Second)
	return fmt.Sprintf("%d:%02d", all/60, all%60)
}

// elapsed is [[days-]hours:]minutes:seconds.
func elapsed(d time.Duration) string {
	days, h, m, s := split(d)
	switch {
	case days > 0:
		return fmt.Sprintf("%d-%02d:%02d:%02d", days, h, m, s)
	case h > 0:
		return fmt.Sprintf("%02d:%02d:%02d", h, m, s)
	}
	return fmt.Sprintf("%02d:%02d", m, s)
}

func split(d time.Duration) (days, h, m, s int64) {
	all := int64(d / time.Second)
	return all / 86400, all / 3600 % 24, all / 60 % 60, all % 60
}

// started is the time of the start: of day, or the day, or the year.
func started(p Process, now time.Time) string {
	at := now.Add(-p.Info.Elapsed)
	switch {
	case at.Year() != now.Year():
		return at.Format("2006")
	case at.YearDay() != now.YearDay():
		return at.Format("Jan02")
	}
	return at.Format("15:04")
}
