package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is what is asked of /proc about one.
type process struct {
	pid, parent int
	name        string
	ticks       uint64 // of processor time, used so far
}

// processes lists those that there are.
func processes() (map[int]process, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int]process{}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		p, err := parseStat(string(data))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		all[p.pid] = p
	}
	return all, nil
}

// parseStat reads a line of /proc/<pid>/stat (proc(5)).
func parseStat(text string) (process, error) {
	var p process
	number, rest, ok := strings.Cut(text, " (")
	end := strings.LastIndex(rest, ") ")
	if !ok || end < 0 {
		return p, errors.New("no name in parentheses")
	}
	p.name = rest[:end]
	fields := strings.Fields(rest[end+2:]) // from the third field on
	if len(fields) < 13 {
		return p, fmt.Errorf("%d fields", len(fields)+2)
	}
	var errs [4]error
	var user, system uint64
	p.pid, errs[0] = strconv.Atoi(number)
	p.parent, errs[1] = strconv.Atoi(fields[1])
	user, errs[2] = strconv.ParseUint(fields[11], 10, 64)
	system, errs[3] = strconv.ParseUint(fields[12], 10, 64)
	p.ticks = user + system
	return p, errors.Join(errs[:]...)
}

// below gives the processes of a program below another process.
func below(all map[int]process, ancestor int, program string) []process {
	var found []process
	for _, p := range all {
		if !strings.HasPrefix(p.name, program) {
			continue
		}
		for up, steps := p.parent, 0; up > 1 && steps < 64; up, steps = all[up].parent, steps+1 {
			if up == ancestor {
				found = append(found, p)
				break
			}
		}
	}
	return found
}

const (
	settleLimit = time.Minute
	settlePause = 150 * time.Millisecond
	// idleTicks is how much of a pause, in hundredths of a second, machines that
	// wait may use together.
	idleTicks = 2
)

// settle waits until the engine has exactly so many machines, which do nothing:
// its template is made, its pool is full and waits, what ended has gone.
func (e *engine) settle(ctx context.Context, machines int) error {
	limited, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	var last uint64
	for quiet := 0; quiet < 2; {
		all, err := processes()
		if err != nil {
			return err
		}
		var ticks uint64
		found := below(all, e.pid, "qemu-system")
		for _, p := range found {
			ticks += p.ticks
		}
		if len(found) == machines && ticks-last <= idleTicks {
			quiet++
		} else {
			quiet = 0
		}
		last = ticks
		select {
		case <-time.After(settlePause):
		case <-limited.Done():
			return fmt.Errorf("waiting for %d machines that wait: there are %d: %w", machines, len(found), limited.Err())
		}
	}
	return nil
}

// warm runs a first machine of a shape and waits until its template is made, if
// the engine makes one.
func (e *engine) warm(ctx context.Context, flags ...string) error {
	if _, err := e.do(ctx, echo(flags...)...); err != nil {
		return fmt.Errorf("the first machine: %w", err)
	}
	return e.settle(ctx, 0)
}

// fill runs machines until one more waits: a shape has to be in use before its
// template is made, and that has to be there before machines wait.
func (e *engine) fill(ctx context.Context, flags ...string) error {
	err := e.warm(ctx, flags...)
	for try := 0; err == nil && try < 3; try++ {
		if _, err = e.do(ctx, echo(flags...)...); err != nil {
			return err
		}
		if waits := e.settle(ctx, 1); waits == nil || ctx.Err() != nil {
			return waits
		} else if try == 2 {
			err = waits
		}
	}
	return err
}

// memory is what a process holds, in bytes.
type memory struct {
	private, proportional, resident int64
}

func (m memory) plus(o memory) memory {
	return memory{m.private + o.private, m.proportional + o.proportional, m.resident + o.resident}
}

func memoryOf(pid int) (memory, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return memory{}, err
	}
	return parseRollup(data)
}

// parseRollup reads /proc/<pid>/smaps_rollup.
func parseRollup(data []byte) (memory, error) {
	var m memory
	into := map[string]*int64{"Rss:": &m.resident, "Pss:": &m.proportional, "Private_Clean:": &m.private, "Private_Dirty:": &m.private}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 || into[fields[0]] == nil {
			continue
		}
		kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return m, fmt.Errorf("reading %q: %w", lines.Text(), err)
		}
		*into[fields[0]] += kilobytes << 10
	}
	if m.resident == 0 {
		return m, errors.New("it says nothing of resident memory")
	}
	return m, nil
}
