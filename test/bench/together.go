package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

// startTogether starts machines at once and compares the time until the last has
// ended with that of as many in turn, which is that of one times their number.
func startTogether(ctx context.Context, l *lab) []figure {
	e, err := l.bothy(ctx, "templ", templateSettings)
	how := "from a template"
	if err != nil {
		how = "booted: " + firstLines(err.Error())
		e, err = l.plain(ctx)
	}
	if err != nil {
		return []figure{broken(togetherName, err)}
	}
	fmt.Fprintf(os.Stderr, "bench: machines that start at once are %s\n", how)
	vm := echo("--isolation", "vm", "--memory", "256m", "--cpus", "1")
	alone := of("one", e, nil, 1, vm...)
	all, inTurn := figure{name: togetherName, unit: "ms"}, figure{name: inTurnName, unit: "ms"}
	for round := -1; round < l.slow && ctx.Err() == nil; round++ {
		if err := e.settle(ctx, 0); err != nil {
			return []figure{broken(togetherName, err)}
		}
		single, err := alone.once(ctx)
		if err != nil {
			return []figure{broken(inTurnName, err)}
		}
		if round < 0 {
			continue // it made the template
		}
		took, err := atOnce(l.together, func() error {
			_, err := e.do(ctx, vm...)
			return err
		})
		if err != nil {
			return []figure{broken(togetherName, err)}
		}
		all.values = append(all.values, milliseconds(took))
		inTurn.values = append(inTurn.values, single*float64(l.together))
	}
	return []figure{all, inTurn}
}

// atOnce does something n times at once and gives the time until the last has
// ended.
func atOnce(n int, do func() error) (time.Duration, error) {
	var all sync.WaitGroup
	errs := make(chan error, n)
	start := time.Now()
	for range n {
		all.Go(func() { errs <- do() })
	}
	all.Wait()
	took := time.Since(start)
	close(errs)
	for err := range errs {
		if err != nil {
			return took, err
		}
	}
	return took, nil
}
