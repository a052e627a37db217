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

// ofMachine are the flags of the machines whose memory is measured.
var ofMachine = []string{"--isolation", "vm", "--memory", "256m", "--cpus", "1"}

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
	}
	if err := e.warm(ctx, ofMachine...); err != nil {
		return append(found, broken(loneName, err))
	}
	defer e.removeAll(context.WithoutCancel(ctx))
	lone, err := e.addMachines(ctx, 1)
	if err != nil {
		return append(found, broken(loneName, err))
	}
	found = append(found,
		figure{name: loneName, unit: "MB", values: privates(lone)},
		figure{name: "the same, its share of what it shares too", unit: "MB", values: shares(lone)})
	if l.siblings == 1 {
		return found
	}
	all, err := e.addMachines(ctx, l.siblings-1)
	if err != nil {
		return append(found, broken(siblingName, err))
	}
	return append(found,
		figure{name: siblingName, unit: "MB", values: privates(all)},
		figure{name: "each of its siblings, its share of what they share too", unit: "MB", values: shares(all)})
}

// addMachines starts n further idle machines, and measures all that there are.
func (e *engine) addMachines(ctx context.Context, n int) ([]memory, error) {
	for range n {
		if _, err := e.do(ctx, append(append([]string{"run", "-d"}, ofMachine...), "busybox", "sleep", "1000000")...); err != nil {
			return nil, err
		}
	}
	out, err := e.do(ctx, "ps", "-q", "--no-trunc")
	if err != nil {
		return nil, err
	}
	ids := strings.Fields(out)
	if err := e.settle(ctx, len(ids)); err != nil {
		return nil, err
	}
	var all []memory
	for _, id := range ids {
		m, err := e.machineMemory(id)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

func privates(all []memory) []float64 {
	var values []float64
	for _, m := range all {
		values = append(values, megabytes(m.private))
	}
	return values
}

func shares(all []memory) []float64 {
	var values []float64
	for _, m := range all {
		values = append(values, megabytes(m.proportional))
	}
	return values
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
