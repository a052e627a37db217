package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// measureMemory measures what one idle machine holds of the host's memory, what
// each of many does, and what a container's shim does.
func measureMemory(ctx context.Context, l *lab) []figure {
	plain, err := l.plain(ctx)
	if err != nil {
		return []figure{broken(shimName, err)}
	}
	found := []figure{measureShim(ctx, plain)}
	e, err := l.bothy(ctx, "templ", templateSettings)
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: the machines whose memory is measured are booted: %s\n", firstLines(err.Error()))
		e = plain
	} else if _, err := e.do(ctx, echo("--isolation", "vm", "--memory", "256m", "--cpus", "1")...); err != nil { // makes the template
		return append(found, broken(loneName, err))
	}
	defer e.removeAll(context.WithoutCancel(ctx))
	private, shared := figure{name: siblingName, unit: "MB"}, figure{name: "each of its siblings, its share of what they share too", unit: "MB"}
	if err := e.settle(ctx, 0); err != nil {
		return append(found, broken(loneName, err))
	}
	for n := 1; n <= l.siblings; n++ {
		id, err := e.do(ctx, "run", "-d", "--isolation", "vm", "--memory", "256m", "--cpus", "1", "busybox", "sleep", "1000000")
		if err != nil {
			return append(found, broken(siblingName, err))
		}
		if n > 1 {
			continue
		}
		if err := e.settle(ctx, 1); err != nil {
			return append(found, broken(loneName, err))
		}
		m, err := e.machineMemory(id)
		if err != nil {
			return append(found, broken(loneName, err))
		}
		found = append(found, one(loneName, "MB", megabytes(m.private)), one("the same, its share of what it shares too", "MB", megabytes(m.proportional)))
	}
	if err := e.settle(ctx, l.siblings); err != nil {
		return append(found, broken(siblingName, err))
	}
	ids, err := e.do(ctx, "ps", "-q", "--no-trunc")
	if err != nil {
		return append(found, broken(siblingName, err))
	}
	for _, id := range strings.Fields(ids) {
		m, err := e.machineMemory(id)
		if err != nil {
			return append(found, broken(siblingName, err))
		}
		private.values = append(private.values, megabytes(m.private))
		shared.values = append(shared.values, megabytes(m.proportional))
	}
	return append(found, private, shared)
}

// measureShim measures the shim of a container that sleeps, once it is quiet.
func measureShim(ctx context.Context, e *engine) figure {
	id, err := e.do(ctx, "run", "-d", "busybox", "sleep", "1000000")
	if err != nil {
		return broken(shimName, err)
	}
	defer e.removeAll(context.WithoutCancel(ctx))
	pid, err := e.shim(id)
	if err != nil {
		return broken(shimName, err)
	}
	var last memory
	for range 20 {
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return broken(shimName, ctx.Err())
		}
		m, err := memoryOf(pid)
		if err != nil {
			return broken(shimName, err)
		}
		if m.resident == last.resident {
			break
		}
		last = m
	}
	return one(shimName, "MB", megabytes(last.resident))
}

// shim is the process id of a container's shim.
func (e *engine) shim(id string) (int, error) {
	data, err := os.ReadFile(filepath.Join(e.run, "c", id, "shim.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// machineMemory is what a machine holds: its shim and its QEMU.
func (e *engine) machineMemory(id string) (memory, error) {
	shim, err := e.shim(id)
	if err != nil {
		return memory{}, err
	}
	all, err := processes()
	if err != nil {
		return memory{}, err
	}
	qemus := below(all, shim, "qemu-system")
	if len(qemus) != 1 {
		return memory{}, fmt.Errorf("the shim of %s has %d machines", id, len(qemus))
	}
	a, err := memoryOf(shim)
	if err != nil {
		return memory{}, err
	}
	b, err := memoryOf(qemus[0].pid)
	return a.plus(b), err
}
