package executor

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bothy/internal/shimapi"
)

// userHZ is the number of the kernel's ticks in a second, as programs see them.
const userHZ = 100

// Fields of /proc/PID/stat, counted from the one after the name: the state.
const (
	statState = iota
	statPPid
	statPGid
	statSession
	statTTY
	statTPGid
	statFlags
	statUserTime   = 11
	statSystemTime = 12
	statPriority   = 15
	statNice       = 16
	statThreads    = 17
	statStart      = 19
	statVSize      = 20
	statResident   = 21
	statCPU        = 36
)

// parseStat reads /proc/PID/stat; see proc_pid_stat(5). start is the time from
// the machine's boot to the process's start.
func parseStat(text string, page int64) (p *shimapi.Process, start time.Duration, err error) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return nil, 0, fmt.Errorf("reading a process's stat: no name in %q", text)
	}
	f := strings.Fields(text[end+1:])
	if len(f) <= statCPU {
		return nil, 0, fmt.Errorf("reading a process's stat: %d fields", len(f))
	}
	number := func(i int) int64 {
		n, nerr := strconv.ParseInt(f[i], 10, 64)
		if nerr != nil && err == nil {
			err = fmt.Errorf("reading a process's stat: field %d: %w", i, nerr)
		}
		return n
	}
	ticks := func(i int) time.Duration { return time.Duration(number(i)) * (time.Second / userHZ) }
	p = &shimapi.Process{
		Name: strings.ToValidUTF8(text[open+1:end], "?"), State: f[statState][:1],
		PPid: int(number(statPPid)), PGid: int(number(statPGid)), Session: int(number(statSession)),
		TTY: terminalName(number(statTTY)), TPGid: int(number(statTPGid)), Flags: uint64(number(statFlags)),
		UserTime: ticks(statUserTime), SystemTime: ticks(statSystemTime),
		Priority: int(number(statPriority)), Nice: int(number(statNice)), Threads: int(number(statThreads)), CPU: int(number(statCPU)),
		Resident: number(statResident) * page,
	}
	size, serr := strconv.ParseUint(f[statVSize], 10, 64)
	if serr != nil && err == nil {
		err = fmt.Errorf("reading a process's stat: its size: %w", serr)
	}
	p.VirtualSize = int64(size)
	start = ticks(statStart)
	if err != nil {
		return nil, 0, err
	}
	return p, start, nil
}

// terminalName is a terminal's name below /dev by its device number; "": none.
func terminalName(device int64) string {
	if device == 0 {
		return ""
	}
	major, minor := device>>8&0xfff, device&0xff|device>>12&0xfff00
	switch {
	case major >= 136 && major <= 143:
		return fmt.Sprintf("pts/%d", (major-136)<<20|minor)
	case major == 4 && minor < 64:
		return fmt.Sprintf("tty%d", minor)
	case major == 4:
		return fmt.Sprintf("ttyS%d", minor-64)
	case major == 5 && minor == 1:
		return "console"
	}
	return fmt.Sprintf("%d:%d", major, minor)
}

// parseIDs reads users and groups, real and effective, from /proc/PID/status.
func parseIDs(text string, p *shimapi.Process) {
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if len(f) < 2 {
			continue
		}
		real, rerr := strconv.ParseUint(f[0], 10, 32)
		effective, eerr := strconv.ParseUint(f[1], 10, 32)
		if rerr != nil || eerr != nil {
			continue
		}
		switch name {
		case "Uid":
			p.UID, p.EUID = uint32(real), uint32(effective)
		case "Gid":
			p.GID, p.EGID = uint32(real), uint32(effective)
		}
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
