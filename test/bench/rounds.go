package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// contender is one way to do what is timed.
type contender struct {
	name   string
	peer   bool
	rounds int
	env    []string
	argv   []string
	// ready, if set, is called before each round, and is not timed.
	ready func(context.Context) error
	// after, if set, undoes what the command did; it is not timed.
	after func(context.Context) error
	// until, if set, ends a round at the first output that holds it, rather than at
	// the command's end.
	until string
	// problem says why it cannot contend.
	problem error
}

// of makes a contender of an engine's command line; where the engine is not there,
// it says why.
func of(name string, e *engine, err error, rounds int, args ...string) *contender {
	if err != nil {
		return &contender{name: name, problem: err}
	}
	return &contender{name: name, rounds: rounds, env: e.env, argv: append(append([]string{}, e.cli...), args...)}
}

// theirs marks a contender as a peer's.
func (c *contender) theirs() *contender {
	c.peer = true
	return c
}

// once does a round and gives its time in milliseconds.
func (c *contender) once(ctx context.Context) (float64, error) {
	if c.ready != nil {
		if err := c.ready(ctx); err != nil {
			return 0, err
		}
	}
	cmd := command(ctx, c.env, c.argv)
	start := time.Now()
	if c.until != "" {
		if err := runUntil(cmd, c.until); err != nil {
			return 0, err
		}
	} else if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	took := milliseconds(time.Since(start))
	if c.after != nil {
		return took, c.after(ctx)
	}
	return took, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// inTurn runs each contender once a round, after a round that does not count.
// Who fails is out.
func inTurn(ctx context.Context, contenders ...*contender) []figure {
	found := make([]figure, len(contenders))
	most := 0
	for i, c := range contenders {
		found[i] = figure{name: c.name, unit: "ms", peer: c.peer, problem: c.problem}
		most = max(most, c.rounds)
	}
	for round := -1; round < most && ctx.Err() == nil; round++ {
		for i, c := range contenders {
			if found[i].problem != nil || round >= c.rounds {
				continue
			}
			took, err := c.once(ctx)
			switch {
			case err != nil && ctx.Err() != nil && len(found[i].values) > 0: // out of time, with figures
			case err != nil:
				found[i].problem = err
				fmt.Fprintf(os.Stderr, "bench: %s: %s\n", c.name, firstLines(err.Error()))
			case round >= 0:
				found[i].values = append(found[i].values, took)
			}
		}
	}
	return found
}
