package engine

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"bothy/internal/vm/template"
)

// poolPlan is what is to be done next.
type poolPlan struct {
	drop []*pooled     // taken out of the pool already
	job  *templateJob  // make one of these; nil: make none
	wait time.Duration // then look again; 0: when something happens
}

// plan decides what to do, and takes what is to be dropped out of the pool.
func (p *pool) plan() poolPlan {
	available, total := p.memory()
	p.mu.Lock()
	defer p.mu.Unlock()
	var plan poolPlan
	now := p.now()
	var wanted []*poolUse
	for shape, u := range p.uses {
		n := p.wantLocked(shape, u, now, available, total)
		for len(u.waiting) > n {
			m := u.waiting[0]
			p.removeLocked(m)
			plan.drop = append(plan.drop, m)
		}
		switch {
		case len(u.waiting) < n && now.Sub(u.failed) >= poolPause:
			wanted = append(wanted, u)
		case n == 0 && now.Sub(u.last) > poolIdle:
			delete(p.uses, shape)
		}
	}
	if len(wanted) == 0 || p.starts > 0 { // the last start's end wakes the pool
		return plan
	}
	if plan.wait = poolQuiet - now.Sub(p.quiet); plan.wait > 0 {
		return plan
	}
	plan.wait = 0
	latest := slices.MaxFunc(wanted, func(a, b *poolUse) int { return a.last.Compare(b.last) })
	plan.job = &latest.job
	return plan
}

// wantLocked says how many machines of a shape are to wait. It needs mu held.
func (p *pool) wantLocked(shape template.Shape, u *poolUse, now time.Time, available, total int64) int {
	switch {
	case !p.maker.Has(shape):
		return 0
	case p.size != PoolAuto:
		return p.size
	case now.Sub(u.last) > poolIdle || !plenty(available, total, len(u.waiting) > 0):
		return 0
	}
	return 1
}

// plenty says whether the host has memory to spare for one machine that waits:
// four times of what it takes, and a fifth of all. For one that waits already a
// little less will do, so that none comes and goes.
func plenty(available, total int64, waits bool) bool {
	least := max(4*poolPrivate, total/5)
	if waits {
		least -= poolPrivate
	}
	return available >= least
}

// hostMemoryLeft gives the memory in bytes that could be used without swapping,
// and all that there is; zeros if that is not known.
func hostMemoryLeft() (available, total int64) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	return parseMemoryLeft(string(data))
}

func parseMemoryLeft(text string) (available, total int64) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		switch {
		case err != nil || n < 0 || n > 1<<50:
		case fields[0] == "MemAvailable:":
			available = n << 10
		case fields[0] == "MemTotal:":
			total = n << 10
		}
	}
	return available, total
}

// String tells of the pool in one line, for `info`.
func (p *pool) String() string {
	if p == nil || p.size == 0 {
		return "off"
	}
	mode := "auto"
	if p.size > 0 {
		mode = strconv.Itoa(p.size) + " for each size"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var parts []string
	for _, u := range slices.SortedFunc(maps.Values(p.uses), func(a, b *poolUse) int {
		return cmp.Or(cmp.Compare(a.job.shape.Memory, b.job.shape.Memory), b.last.Compare(a.last))
	}) {
		if n := len(u.waiting); n > 0 {
			parts = append(parts, fmt.Sprintf("%d of %s", n, units.BytesSize(float64(u.job.shape.Memory))))
		}
	}
	if len(parts) == 0 {
		return mode + ", none waiting"
	}
	return mode + ", waiting: " + strings.Join(parts, "; ")
}
