package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// starters is how many things are started at once on the way to many.
const starters = 4

// measureDensity starts many idle machines and containers and times ps beside
// them.
func measureDensity(ctx context.Context, l *lab) []figure {
	e, err := l.bothy(ctx, "templ", templateSettings)
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: the many machines are booted: %s\n", firstLines(err.Error()))
		e, err = l.plain(ctx)
	}
	if err != nil {
		return []figure{broken(psName, err)}
	}
	defer e.removeAll(context.WithoutCancel(ctx))
	small := []string{"--isolation", "vm", "--memory", "128m", "--cpus", "1"}
	if l.machines > 0 {
		if err := e.warm(ctx, small...); err != nil {
			return []figure{broken(psName, err)}
		}
	}
	var found []figure
	for _, many := range []struct {
		name  string
		n     int
		flags []string
	}{
		{fmt.Sprintf("until %d machines of 128 MB run", l.machines), l.machines, small},
		{fmt.Sprintf("until %d containers run", l.containers), l.containers, nil},
	} {
		start := time.Now()
		if err := e.runMany(ctx, many.n, many.flags...); err != nil {
			return append(found, broken(many.name, err))
		}
		found = append(found, one(many.name, "s", time.Since(start).Seconds()))
	}
	if err := e.settle(ctx, l.machines); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err) // machines that are never quite idle are what ps has to live with
	}
	if err := e.count(ctx, l.machines+l.containers); err != nil {
		return append(found, broken(psName, err))
	}
	found = append(found, inTurn(ctx, of(psName, e, nil, l.rounds, "ps"))...)
	return append(found, e.timeList(ctx, l.rounds))
}

// runMany starts n containers that sleep.
func (e *engine) runMany(ctx context.Context, n int, flags ...string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	args := append(append([]string{"run", "-d"}, flags...), "busybox", "sleep", "1000000")
	var all sync.WaitGroup
	for range starters {
		all.Go(func() {
			for range work {
				if _, err := e.do(ctx, args...); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// count makes sure that so many containers run.
func (e *engine) count(ctx context.Context, want int) error {
	ids, err := e.do(ctx, "ps", "-q")
	if err != nil {
		return err
	}
	if n := len(strings.Fields(ids)); n != want {
		return fmt.Errorf("%d containers run, not %d", n, want)
	}
	return nil
}

// timeList times the request behind ps, without the command line's own start.
func (e *engine) timeList(ctx context.Context, rounds int) figure {
	found := figure{name: "GET /containers/json", unit: "ms"}
	socket := strings.TrimPrefix(e.env[0], "DOCKER_HOST=unix://")
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	for range rounds {
		start := time.Now()
		if err := get(ctx, client, "http://bothy/containers/json"); err != nil {
			return broken(found.name, err)
		}
		found.values = append(found.values, milliseconds(time.Since(start)))
	}
	return found
}

func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
